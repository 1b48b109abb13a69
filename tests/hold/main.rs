//! Whether it holds: the hub as a process of its own, attacked and hindered while others go on talking. A small part of
//! each attack runs among the other tests; all of it by `make hold`. What was measured, and the bounds, are told in
//! README.md beside this file.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod faults;
mod lab;
mod memory;
mod participants;
mod providers;
mod soak;
