//! mod-alloc with call sites, over the system's allocator: it takes no other.

#[global_allocator]
static HEAP: mod_alloc::ModAlloc = mod_alloc::ModAlloc::new();

fn main() {
    let _profiler = mod_alloc::Profiler::start();
    peers::measure(&HEAP);
}
