//! The binary: hands the arguments to the command line, and its exit code to the system.

#![forbid(unsafe_code)]

// One connection's panic is caught there (src/http/connection.rs); aborting would take the whole hub down.
#[cfg(not(panic = "unwind"))]
compile_error!("gambi must be built with panic = \"unwind\"");

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

mod chat;
mod cli;
mod monitor;
#[cfg(feature = "tui")]
mod tui;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os().skip(1), &|name| std::env::var(name).ok()))
}
