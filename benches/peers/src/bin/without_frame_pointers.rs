//! The ledger in a build without frame pointers, by call frame information, and the bare allocator:
//! `<pairs> bare|ledger`.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static HEAP: afterdrop::Heap<Jemalloc> = afterdrop::Heap::over(Jemalloc);
static BARE: Jemalloc = Jemalloc;

fn main() {
    match std::env::args().nth(2).as_deref() {
        Some("ledger") => {
            let unwinder = afterdrop::bench::choose_unwinder();
            assert_eq!(unwinder, "cfi", "this build has frame pointers");
            peers::measure(&HEAP);
        }
        _ => peers::measure(&BARE),
    }
}
