//! jemalloc, whose own profiler is switched on by `_RJEM_MALLOC_CONF`.

#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    peers::measure(&HEAP);
}
