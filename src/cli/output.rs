//! The one place that writes: records to standard output, everything else to standard error.

use anyhow::{Error, Result};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

pub struct Output {
    json: bool,
    failed: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Output { json, failed: false }
    }

    /// A result: as one line of JSON, or as `text`.
    pub fn record(&mut self, record: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        let line = if self.json { serde_json::to_string(record)? } else { text() };
        writeln!(io::stdout().lock(), "{line}")?;
        Ok(())
    }

    /// A text that is the same with and without `--json`.
    pub fn text(&mut self, text: &str) -> Result<()> {
        io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }

    /// A line that only `--json` prints; people read it on standard error.
    pub fn json_record(&mut self, record: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        self.record(record, String::new)
    }

    /// Something the user should know, which is no result.
    pub fn note(&self, text: impl Display) {
        eprintln!("{text}");
    }

    /// One of many items failed: say so, go on, exit with 1 in the end.
    pub fn item_failed(&mut self, error: &dyn std::error::Error) {
        self.failed = true;
        eprintln!("densenet: {}", chain([error.to_string()].into_iter().chain(causes(error))));
    }

    /// The command did what it was asked and the answer is no.
    pub fn answer_is_no(&mut self) {
        self.failed = true;
    }

    /// Reports a failure in one line; a reader that has closed the pipe is none.
    pub fn exit_code(&self, result: Result<()>) -> ExitCode {
        match result {
            Ok(()) if !self.failed => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("densenet: {}", chain(error.chain().map(ToString::to_string)));
                ExitCode::FAILURE
            }
        }
    }
}

pub fn is_closed_pipe(error: &Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn causes(error: &dyn std::error::Error) -> impl Iterator<Item = String> + '_ {
    std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string)
}

/// One line of an error and its causes; most of ours already end with their cause's words.
fn chain(messages: impl Iterator<Item = String>) -> String {
    let mut line = String::new();
    for message in messages.map(|message| message.split_whitespace().collect::<Vec<_>>().join(" ")) {
        if line.is_empty() {
            line = message;
        } else if !line.contains(&message) {
            line = format!("{line}: {message}");
        }
    }
    line
}
