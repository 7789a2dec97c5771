//! leaktracer, over the system's allocator: it takes no other.

#[global_allocator]
static HEAP: leaktracer::LeaktracerAllocator = leaktracer::LeaktracerAllocator::init();

fn main() {
    leaktracer::init_symbol_table(&["peers"]);
    peers::measure(&HEAP);
}
