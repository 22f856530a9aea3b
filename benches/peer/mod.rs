//! What the benchmarks share: participants as child processes, measured in turn, and their figures as a table.
//!
//! A participant answers JSON lines: `{"command": NAME, …}` with `{"result": …}` or `{"error": text}`. One is Python
//! (`peer.py`), the others are the benchmark's own binary started again, since settings such as the allocator's belong to
//! a whole process. All are started and warmed up before the first is measured.

#![allow(dead_code, reason = "each benchmark compiles its own copy and uses a part of it")]

pub mod table;

use anyhow::{anyhow, bail, Context, Result};
use serde_json::{json, Value};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PYTHON_HELP: &str =
    "set DENSENET_PYTHON to a Python with torch, torchvision, safetensors and Pillow, or run \
                           `make bench`";

/// Says to this binary that it is a participant.
const PARTICIPANT: &str = "--participant";

/// The Python that has PyTorch.
pub fn python() -> String {
    std::env::var("DENSENET_PYTHON").unwrap_or_else(|_| "python3".to_string())
}

/// Threads of every participant: as asked, else one a processor.
pub fn threads(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(threads) => Ok(threads),
        None => Ok(std::thread::available_parallelism()?.get()),
    }
}

/// A child process that answers questions. It ends when this value goes.
pub struct Peer {
    name: String,
    child: Child,
    /// `None` once closed, which ends the child.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// PyTorch.
    pub fn python(name: &str) -> Result<Peer> {
        let mut command = Command::new(python());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peer.py"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Self::start(name, command).context(PYTHON_HELP)
    }

    /// This binary again; its `main` begins with [`serve_if_participant`].
    pub fn this_binary(name: &str) -> Result<Peer> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(PARTICIPANT);
        Self::start(name, command)
    }

    fn start(name: &str, mut command: Command) -> Result<Peer> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.context("no pipe from the child")?);
        Ok(Peer { name: name.to_string(), child, questions, answers })
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, question: &Value) -> Result<Value> {
        let questions = self.questions.as_mut().context("closed")?;
        let mut line = String::new();
        let asked = writeln!(questions, "{question}").and_then(|()| self.answers.read_line(&mut line));
        if !matches!(asked, Ok(1..)) {
            bail!("{} died before it answered {question}", self.name);
        }
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("{line:?}"))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{}: {error}", self.name),
            None => Ok(answer["result"].take()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.questions = None;
        // It ends by itself at the end of its input; nothing is left to do if that fails.
        let _ = self.child.wait();
    }
}

/// Answers questions until input ends, if this process was started to (by [`Peer::this_binary`]).
pub fn serve_if_participant(mut answer: impl FnMut(&str, &Value) -> Result<Value>) -> Result<bool> {
    if std::env::args().nth(1).as_deref() != Some(PARTICIPANT) {
        return Ok(false);
    }
    for line in io::stdin().lines() {
        let question: Value = serde_json::from_str(&line?)?;
        let command = question["command"].as_str().context("a question without a command")?;
        let answer = match answer(command, &question) {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(true)
}

/// A participant and the question that makes it run once.
pub struct Participant {
    /// What the table calls it.
    pub name: String,
    /// Who is asked.
    pub peer: Peer,
    /// The answer has `seconds`.
    pub run: Value,
}

/// Asks each participant in turn, `rounds` times over; a round begins one participant later than the one before. Gives
/// each participant's answers, round by round.
pub fn in_turn(participants: &mut [Participant], rounds: usize) -> Result<Vec<Vec<Value>>> {
    let count = participants.len();
    let mut answers = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for place in 0..count {
            let index = (round + place) % count;
            let participant = &mut participants[index];
            answers[index].push(participant.peer.ask(&participant.run)?);
        }
    }
    Ok(answers)
}

/// A number in an answer.
pub fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key].as_f64().ok_or_else(|| anyhow!("no number {key:?} in the answer {answer}"))
}

/// An unsigned number in a question.
pub fn count(question: &Value, key: &str) -> Result<i64> {
    question[key].as_i64().ok_or_else(|| anyhow!("no count {key:?} in the question {question}"))
}

/// A text in a question.
pub fn text<'a>(question: &'a Value, key: &str) -> Result<&'a str> {
    question[key].as_str().ok_or_else(|| anyhow!("no text {key:?} in the question {question}"))
}
