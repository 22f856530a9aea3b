//! The one place that writes: records to standard output, everything else to standard error.

use anyhow::{Error, Result};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// The exit code of a command that was interrupted: 128 + SIGINT, as shells have it.
pub const INTERRUPTED: u8 = 130;

pub struct Output {
    json: bool,
    failed: bool,
    interrupted: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Output { json, failed: false, interrupted: false }
    }

    /// A result: as one line of JSON, or as `text`.
    pub fn record(&mut self, record: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        let line = if self.json { serde_json::to_string(record)? } else { plain(&text()).into_owned() };
        writeln!(io::stdout().lock(), "{line}")?;
        Ok(())
    }

    /// A text that is the same with and without `--json`.
    pub fn verbatim(&mut self, text: &str) -> Result<()> {
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

    /// Text that only people get: what `json_record` told line by line.
    pub fn text(&mut self, text: impl FnOnce() -> String) -> Result<()> {
        if self.json {
            return Ok(());
        }
        writeln!(io::stdout().lock(), "{}", text())?;
        Ok(())
    }

    /// Whether somebody watches who could use a progress bar.
    pub fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Something the user should know, which is no result.
    pub fn note(&self, text: impl Display) {
        eprintln!("{}", plain(&text.to_string()));
    }

    /// One of many items failed: say so, go on, exit with 1 in the end.
    pub fn item_failed(&mut self, error: &dyn std::error::Error) {
        self.failed = true;
        eprintln!("densenet: {}", plain(&chain([error.to_string()].into_iter().chain(causes(error)))));
    }

    /// The command did what it was asked and the answer is no.
    pub fn answer_is_no(&mut self) {
        self.failed = true;
    }

    /// The command ended early, in good order, because a signal asked for it.
    pub fn interrupted(&mut self) {
        self.interrupted = true;
    }

    /// Reports a failure in one line; a reader that has closed the pipe is none.
    pub fn exit_code(&self, result: Result<()>) -> ExitCode {
        match result {
            Ok(()) if self.interrupted => ExitCode::from(INTERRUPTED),
            Ok(()) if !self.failed => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("densenet: {}", plain(&chain(error.chain().map(ToString::to_string))));
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

/// Names come from files: what a terminal would take for a command is written out. JSON escapes by itself.
fn plain(text: &str) -> Cow<'_, str> {
    let command = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(command) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if command(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
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
