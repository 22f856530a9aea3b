//! The `densenet` command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: it works on memory that is not taken yet (runtime::keep_freed_memory says what and why).
    densenet::runtime::keep_freed_memory();
    cli::main()
}
