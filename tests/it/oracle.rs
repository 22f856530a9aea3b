//! The Python process that answers what PyTorch and torchvision do: started once, asked over pipes.

use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

struct Oracle {
    _child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

static ORACLE: LazyLock<Mutex<Oracle>> = LazyLock::new(|| Mutex::new(Oracle::start()));

impl Oracle {
    fn start() -> Oracle {
        let python = std::env::var("DENSENET_PYTHON").unwrap_or_else(|_| "python3".to_string());
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/server.py");
        let mut child = Command::new(&python)
            .arg(server)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the oracle ({python}): {error}; {HELP}"));
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Oracle { _child: child, questions, answers }
    }
}

const HELP: &str = "these tests compare with the installed torch and torchvision: run `make test`, or set \
                    DENSENET_PYTHON to a Python that has them";

/// Asks the oracle; `arguments` is an object of keyword arguments. Panics with Python's traceback if it fails.
pub fn ask(command: &str, arguments: Value) -> Value {
    let mut request = arguments;
    request["command"] = json!(command);
    let mut oracle = ORACLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut line = String::new();
    let asked = writeln!(oracle.questions, "{request}").and_then(|()| oracle.answers.read_line(&mut line));
    if !matches!(asked, Ok(1..)) {
        panic!("the oracle died before it answered {command}: {HELP}");
    }
    let mut answer: Value = serde_json::from_str(&line).expect("the oracle answers in JSON");
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        panic!("the oracle's {command} failed:\n{error}");
    }
    answer["result"].take()
}
