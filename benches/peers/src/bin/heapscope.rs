//! heapscope, every allocation, over jemalloc.

#[global_allocator]
static HEAP: heapscope::Alloc<tikv_jemallocator::Jemalloc> =
    heapscope::Alloc::new(tikv_jemallocator::Jemalloc);

fn main() {
    let profiler = heapscope::Profiler::builder().no_output().build();
    let _profiler = profiler.expect("heapscope starts");
    peers::measure(&HEAP);
}
