//! The recorder against a naive model: after a million random operations on threads that are born and
//! die, both have the same live bytes and blocks by birth cycle, phase and stack, at each boundary.
//!
//! This executable is its own `afterdrop` command.

mod common;
#[path = "naive_model/mod.rs"]
mod naive_model;

use std::process::ExitCode;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

fn main() -> ExitCode {
    naive_model::main(if cfg!(feature = "jemalloc") {
        &["jemalloc", "system"]
    } else {
        &["system"]
    })
}
