//! The tests of `tests/naive_model.rs` over mimalloc.

#[path = "../../../common/mod.rs"]
mod common;
#[path = "../../mod.rs"]
mod naive_model;

use std::process::ExitCode;

#[global_allocator]
static HEAP: afterdrop::Heap<mimalloc::MiMalloc> = afterdrop::Heap::over(mimalloc::MiMalloc);

fn main() -> ExitCode {
    // The name by which the command knows the wrapped allocator.
    naive_model::main(&["system"])
}
