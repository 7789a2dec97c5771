//! The system's allocator, for tools that watch it from outside.

#[global_allocator]
static HEAP: std::alloc::System = std::alloc::System;

fn main() {
    peers::measure(&HEAP);
}
