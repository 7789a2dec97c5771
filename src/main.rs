//! The `afterdrop` command: installs the heap that can be measured, and hands over.

use std::process::ExitCode;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

fn main() -> ExitCode {
    afterdrop::main(afterdrop::workloads::all())
}
