//! The ledger over it as the global allocator, as a program calls it; off, unless the environment asks for it.

#[global_allocator]
static HEAP: afterdrop::Heap<tikv_jemallocator::Jemalloc> =
    afterdrop::Heap::over(tikv_jemallocator::Jemalloc);

fn main() {
    peers::measure(&peers::Global);
}
