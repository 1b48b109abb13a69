//! The binary: hands the arguments to the command line, and its exit code to the system.

#![forbid(unsafe_code)]

// One connection's panic is caught there (src/http/connection.rs); aborting would take the whole hub down.
#[cfg(not(panic = "unwind"))]
compile_error!("gambi must be built with panic = \"unwind\"");

// It takes memory from musl's allocator in blocks of 16 MiB, of which only what is used is taken from the machine, and gives a block
// back when nothing in it is used. A smaller block would be given back, and taken again, with each long prompt.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: talc::TalcLock<rustix_futex_sync::RawMutex, talc::source::GlobalAllocSource<std::alloc::System>> =
    talc::TalcLock::new(talc::source::GlobalAllocSource::with_block_size(std::alloc::System, 16 << 20));

mod chat;
mod cli;
mod monitor;
#[cfg(feature = "tui")]
mod tui;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os().skip(1), &|name| std::env::var(name).ok()))
}
