//! The binary: hands the arguments to the command line, and its exit code to the system.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os().skip(1), &|name| std::env::var(name).ok()))
}
