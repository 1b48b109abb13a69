//! The binary: hands the arguments to the command line, and its exit code to the system.

#![forbid(unsafe_code)]

// One connection's panic is caught there (src/http/request_loop.rs); aborting would take the whole hub down.
#[cfg(not(panic = "unwind"))]
compile_error!("gambi must be built with panic = \"unwind\"");

// It takes memory from musl's allocator in blocks of 16 MiB, which take from the machine what has been used of them, and gives back a
// block (but for the first) in which nothing is used any more. A smaller one would come and go with each long prompt.
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
