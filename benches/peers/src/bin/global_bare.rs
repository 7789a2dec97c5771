//! jemalloc as the global allocator, as a program calls it.

#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    peers::measure(&peers::Global);
}
