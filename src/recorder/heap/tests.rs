//! The ledger against a naive model: whatever any threads do, both have the same, byte for byte.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, Once};

use super::*;
use crate::base::random::Random;

/// The process's ledger, and of how many bytes one is drawn, are one test's at a time.
pub(super) static ALONE: Mutex<()> = Mutex::new(());

/// The system's allocator, which looks whether a block goes back as it was allocated.
struct Checked;

static LAYOUTS: Mutex<Option<HashMap<usize, Layout>>> = Mutex::new(None);

fn layouts<R>(f: impl FnOnce(&mut HashMap<usize, Layout>) -> R) -> R {
    f(LAYOUTS.lock().unwrap().get_or_insert_default())
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Checked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        let at = unsafe { System.alloc(layout) };
        assert_eq!(layouts(|all| all.insert(at.addr(), layout)), None);
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        assert_eq!(layouts(|all| all.remove(&at.addr())), Some(layout));
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) };
    }
}

static HEAP: Heap<Checked> = Heap::over(Checked);

/// A live block of the model.
struct Held {
    at: usize,
    layout: Layout,
    /// Where it was allocated, and whether other hooks were called for it there.
    place: (usize, bool),
    birth: u32,
}

fn place(state: u8, place: usize, layout: Layout) -> (usize, bool) {
    let is_jemalloc = Backend::of_state(state) == Backend::Jemalloc;
    (place, is_jemalloc && layout.align() > 16)
}

/// Each place has one stack, so that it is one stack.
fn allocate(state: u8, place: usize, layout: Layout) -> *mut u8 {
    if state & SAMPLED != 0 && sampled::passes(layout.size()) {
        // SAFETY: no layout here is of size zero.
        return unsafe { HEAP.backend_alloc::<false>(state, layout) };
    }
    #[inline(never)]
    fn at<const PLACE: usize>(state: u8, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here is of size zero.
        let at = unsafe {
            match PLACE % 2 {
                0 => HEAP.measured_alloc::<false>(state, layout),
                _ => HEAP.measured_alloc::<true>(state, layout),
            }
        };
        std::hint::black_box(PLACE);
        at
    }
    match place {
        0 => at::<0>(state, layout),
        1 => at::<1>(state, layout),
        2 => at::<2>(state, layout),
        _ => at::<3>(state, layout),
    }
}

fn reallocate(state: u8, place: usize, held: &Held, size: usize) -> *mut u8 {
    #[inline(never)]
    fn at<const PLACE: usize>(state: u8, held: &Held, size: usize) -> *mut u8 {
        let old = std::ptr::with_exposed_provenance_mut(held.at);
        let passes = state & SAMPLED != 0 && sampled::passes(size);
        // SAFETY: the model has the block as it was allocated, and the new size is not zero.
        let at = unsafe { HEAP.measured_realloc(state, old, held.layout, size, passes) };
        std::hint::black_box(PLACE);
        at
    }
    match place {
        4 => at::<4>(state, held, size),
        _ => at::<5>(state, held, size),
    }
}

fn free(state: u8, held: &Held) {
    let at = std::ptr::with_exposed_provenance_mut(held.at);
    // SAFETY: the model has the block as it was allocated, and frees it once.
    unsafe { HEAP.measured_dealloc(state, at, held.layout) };
}

/// One thread's part of a round: calls in any order, on blocks that any thread has allocated.
#[inline(never)]
fn calls(state: u8, birth: u32, seed: u64, pool: &Mutex<Vec<Held>>) {
    let mut random = Random::new(seed);
    let layout = |random: &mut Random| {
        let align = 1 << random.below(8);
        // Of at least 64 bytes, which are drawn for sure where every byte is.
        Layout::from_size_align(64 + random.index(5000), align).unwrap()
    };
    let take = |random: &mut Random| {
        let mut pool = pool.lock().unwrap();
        match pool.len() {
            0 => None,
            n => Some(pool.swap_remove(random.index(n))),
        }
    };
    for _ in 0..400 {
        match random.below(10) {
            0..5 => {
                let (place, layout) = (random.index(4), layout(&mut random));
                let at = allocate(state, place, layout).expose_provenance();
                pool.lock().unwrap().push(Held {
                    at,
                    layout,
                    place: self::place(state, place, layout),
                    birth,
                });
            }
            5..7 => {
                let Some(held) = take(&mut random) else {
                    continue;
                };
                let (place, size) = (4 + random.index(2), 64 + random.index(9000));
                let at = reallocate(state, place, &held, size).expose_provenance();
                let layout = Layout::from_size_align(size, held.layout.align()).unwrap();
                pool.lock().unwrap().push(Held {
                    at,
                    layout,
                    place: self::place(state, place, layout),
                    birth,
                });
            }
            7 => {
                // As from a signal handler, or in the tool's own work.
                let Some(held) = take(&mut random) else {
                    continue;
                };
                let _paused = pause();
                free(state, &held);
            }
            _ => {
                let Some(held) = take(&mut random) else {
                    continue;
                };
                free(state, &held);
            }
        }
    }
}

/// Bytes and blocks of each birth, at each place or stack, in order.
type Sums = BTreeMap<u32, Vec<(u64, u64)>>;

fn in_order<K: Ord>(sums: BTreeMap<(u32, K), (u64, u64)>) -> Sums {
    let mut ordered = Sums::new();
    for ((birth, _), sum) in sums {
        ordered.entry(birth).or_default().push(sum);
    }
    ordered.values_mut().for_each(|sums| sums.sort_unstable());
    ordered
}

fn of_ledger() -> Sums {
    let mut sums = BTreeMap::new();
    for_each_live(|entry| {
        let key = (
            Birth {
                cycle: entry.birth,
                phase: entry.phase,
            }
            .packed(),
            entry.stack_id,
        );
        let sum = sums.entry(key).or_insert((0, 0));
        *sum = (sum.0 + entry.bytes, sum.1 + entry.blocks);
    });
    in_order(sums)
}

fn of_model(pool: &[Held]) -> Sums {
    let mut sums = BTreeMap::new();
    for held in pool {
        let sum = sums.entry((held.birth, held.place)).or_insert((0, 0));
        *sum = (sum.0 + held.layout.size() as u64, sum.1 + 1);
    }
    in_order(sums)
}

/// Ends the census when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Rounds of threads that end, with a census going on all the time; after each the ledger has what
/// the model has.
fn equals_the_model(state: u8, seed: u64) {
    const ROUNDS: u32 = 12;
    static KEYS: Once = Once::new();
    KEYS.call_once(thread::close_books_of_threads_that_end);
    let before = totals();
    let pool = Mutex::new(Vec::new());
    // One birth is never freed, so that any census has it whole.
    let kept = Birth {
        cycle: 1000,
        phase: 7,
    };
    set_now(kept);
    let layout = Layout::from_size_align(100, 4).unwrap();
    let stay: Vec<Held> = (0..50)
        .map(|_| Held {
            at: allocate(state, 0, layout).expose_provenance(),
            layout,
            place: place(state, 0, layout),
            birth: kept.packed(),
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let seen = of_ledger().remove(&kept.packed());
                assert_eq!(seen.as_deref(), Some(&[(5000, 50)][..]));
            }
        });
        // Also when an assertion fails.
        let _end = End(&done);
        for round in 1..=ROUNDS {
            let birth = Birth {
                cycle: round,
                phase: 1,
            };
            set_now(birth);
            std::thread::scope(|threads| {
                for thread in 0..4 {
                    let (pool, birth) = (&pool, birth.packed());
                    let seed = seed << 16 | u64::from(round << 4 | thread);
                    threads.spawn(move || calls(state, birth, seed, pool));
                }
            });
            let mut of_ledger = of_ledger();
            of_ledger.remove(&kept.packed());
            // Not `assert_eq`: they are long.
            assert!(of_ledger == of_model(&pool.lock().unwrap()), "{round}");
        }
    });
    let pool = pool.into_inner().unwrap();
    let live = totals();
    assert_eq!(
        live.live_blocks - before.live_blocks,
        (pool.len() + stay.len()) as u64
    );
    for held in pool.iter().chain(&stay) {
        free(state, held);
    }
    let after = totals();
    assert_eq!(
        (after.live_bytes, after.live_blocks),
        (before.live_bytes, before.live_blocks)
    );
    assert_eq!(after.unknown_frees, before.unknown_frees);
    assert_eq!(of_ledger(), Sums::new());
    assert!(layouts(|all| all.is_empty()), "all went back");
}

#[test]
fn after_any_calls_of_any_threads_the_ledger_equals_a_naive_model() {
    let _alone = ALONE.lock().unwrap();
    for seed in 0..8 {
        equals_the_model(RECORDING | Backend::Inner as u8, seed);
    }
}

/// With the hooks that are compiled apart, on any processor and for those that make keys by AES.
#[cfg(feature = "jemalloc")]
#[test]
fn over_jemalloc_too() {
    let _alone = ALONE.lock().unwrap();
    assert_eq!(choose_unwinder(), Unwinder::FramePointers);
    for seed in 0..8 {
        equals_the_model(OVER_JEMALLOC, seed);
        equals_the_model(with_keys(OVER_JEMALLOC), seed);
    }
}

/// What fails leaves no trace, however large it was to be: the next one is looked at again.
#[cfg(feature = "jemalloc")]
#[test]
fn what_cannot_be_allocated_stops_nothing() {
    let _alone = ALONE.lock().unwrap();
    let huge = Layout::from_size_align(isize::MAX as usize - 4096, 8).unwrap();
    let small = Layout::from_size_align(64, 8).unwrap();
    let state = with_keys(OVER_JEMALLOC);
    for _ in 0..600 {
        assert!(!sampled::passes(huge.size()));
        assert!(allocate(state, 0, huge).is_null());
        assert!(!sampled::passes(small.size()));
        let at = allocate(state, 0, small).expose_provenance();
        let held = Held {
            at,
            layout: small,
            place: place(state, 0, small),
            birth: 0,
        };
        assert!(!sampled::passes(huge.size()));
        assert!(reallocate(state, 4, &held, huge.size()).is_null());
        assert!(origin(at).is_some(), "it lives on");
        free(state, &held);
        assert!(origin(at).is_none());
    }
}

#[test]
fn where_every_byte_is_drawn_too() {
    let _alone = ALONE.lock().unwrap();
    sampled::set_every(1);
    for seed in 0..8 {
        equals_the_model(RECORDING | SAMPLED | Backend::Inner as u8, seed);
    }
    sampled::set_every(0);
}

#[test]
fn a_block_goes_back_as_it_was_allocated_whether_it_was_drawn_or_not() {
    let _alone = ALONE.lock().unwrap();
    // Every other block of the mean size, or so.
    sampled::set_every(4096);
    let pool = Mutex::new(Vec::new());
    let state = RECORDING | SAMPLED | Backend::Inner as u8;
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let pool = &pool;
            threads.spawn(move || (0..20).for_each(|i| calls(state, 8, thread << 8 | i, pool)));
        }
    });
    let pool = pool.into_inner().unwrap();
    let is_paged = |held: &&Held| held.at.is_multiple_of(4096);
    let drawn = pool.iter().filter(is_paged).count();
    assert!(
        drawn > pool.len() / 4 && drawn < pool.len() * 3 / 4,
        "{drawn}"
    );
    pool.iter().for_each(|held| free(state, held));
    sampled::set_every(0);
    assert_eq!(of_ledger(), Sums::new());
    assert!(layouts(|all| all.is_empty()), "all went back");
}
