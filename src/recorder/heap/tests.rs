//! The ledger against a plain model: after any calls of any threads, both have the same live blocks,
//! byte for byte.

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, Once};

use super::state::{Backend, Mode, State};
use super::{Heap, backend, for_each_live, pause, sampler, set_now, thread, totals};
#[cfg(feature = "jemalloc")]
use super::{Unwinder, choose_unwinder, origin, startup};
use crate::base::random::Random;
use crate::model::block::Birth;

/// Held by tests that use the ledger of the process or set the sample interval.
pub(super) static EXCLUSIVE: Mutex<()> = Mutex::new(());

/// The system's allocator, which checks that a block is freed with the layout that it was allocated
/// with.
struct Checked;

static LAYOUTS: Mutex<Option<HashMap<usize, Layout>>> = Mutex::new(None);

fn layouts<R>(f: impl FnOnce(&mut HashMap<usize, Layout>) -> R) -> R {
    f(LAYOUTS.lock().unwrap().get_or_insert_default())
}

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Checked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        let at = unsafe { System.alloc(layout) };
        assert_eq!(layouts(|all| all.insert(at.addr(), layout)), None);
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        assert_eq!(layouts(|all| all.remove(&at.addr())), Some(layout));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) };
    }
}

static HEAP: Heap<Checked> = Heap::over(Checked);

/// A live block of the model.
struct LiveBlock {
    at: usize,
    layout: Layout,
    stack: Stack,
    birth: u32,
}

/// The call site that allocated a block, and whether it called the hooks for any alignment.
type Stack = (usize, bool);

fn stack(state: State, call_site: usize, layout: Layout) -> Stack {
    let is_jemalloc = state.backend() == Backend::Jemalloc;
    (call_site, is_jemalloc && layout.align() > 16)
}

/// Allocates at one of four call sites. Each has one stack for each way through the hooks.
fn allocate(state: State, call_site: usize, layout: Layout) -> *mut u8 {
    if state.mode() == Mode::Sampled && sampler::try_skip(layout.size()) {
        // SAFETY: no layout here has size 0.
        return unsafe { backend::alloc::<_, false>(&HEAP.inner, state, layout) };
    }
    #[inline(never)]
    fn at<const CALL_SITE: usize>(state: State, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here has size 0.
        let at = unsafe {
            match CALL_SITE % 2 {
                0 => HEAP.measured_alloc::<false>(state, layout),
                _ => HEAP.measured_alloc::<true>(state, layout),
            }
        };
        std::hint::black_box(CALL_SITE);
        at
    }
    match call_site {
        0 => at::<0>(state, layout),
        1 => at::<1>(state, layout),
        2 => at::<2>(state, layout),
        _ => at::<3>(state, layout),
    }
}

/// Reallocates at one of two further call sites.
fn reallocate(state: State, call_site: usize, block: &LiveBlock, size: usize) -> *mut u8 {
    #[inline(never)]
    fn at<const CALL_SITE: usize>(state: State, block: &LiveBlock, size: usize) -> *mut u8 {
        let old = std::ptr::with_exposed_provenance_mut(block.at);
        let skipped = state.mode() == Mode::Sampled && sampler::try_skip(size);
        // SAFETY: the block is live and has this layout, and the new size is not 0.
        let at = unsafe { HEAP.measured_realloc(state, old, block.layout, size, skipped) };
        std::hint::black_box(CALL_SITE);
        at
    }
    match call_site {
        4 => at::<4>(state, block, size),
        _ => at::<5>(state, block, size),
    }
}

fn free(state: State, block: &LiveBlock) {
    let at = std::ptr::with_exposed_provenance_mut(block.at);
    // SAFETY: the block is live and has this layout, and the model frees it once.
    unsafe { HEAP.measured_dealloc(state, at, block.layout) };
}

/// One thread's part of a round: random calls, on blocks that any thread has allocated.
#[inline(never)]
fn random_calls(state: State, birth: u32, seed: u64, pool: &Mutex<Vec<LiveBlock>>) {
    let mut random = Random::new(seed);
    let layout = |random: &mut Random| {
        let align = 1 << random.below(8);
        // At least 64 bytes, which are sampled with certainty at an interval of one byte.
        Layout::from_size_align(64 + random.index(5000), align).unwrap()
    };
    let remove = |random: &mut Random| {
        let mut pool = pool.lock().unwrap();
        match pool.len() {
            0 => None,
            n => Some(pool.swap_remove(random.index(n))),
        }
    };
    let add = |at: *mut u8, layout, call_site| {
        pool.lock().unwrap().push(LiveBlock {
            at: at.expose_provenance(),
            layout,
            stack: stack(state, call_site, layout),
            birth,
        });
    };
    for _ in 0..400 {
        match random.below(10) {
            0..5 => {
                let (call_site, layout) = (random.index(4), layout(&mut random));
                add(allocate(state, call_site, layout), layout, call_site);
            }
            5..7 => {
                let Some(block) = remove(&mut random) else {
                    continue;
                };
                let (call_site, size) = (4 + random.index(2), 64 + random.index(9000));
                let at = reallocate(state, call_site, &block, size);
                let layout = Layout::from_size_align(size, block.layout.align()).unwrap();
                add(at, layout, call_site);
            }
            7 => {
                // As in a signal handler, or in the recorder's own work.
                let Some(block) = remove(&mut random) else {
                    continue;
                };
                let _paused = pause();
                free(state, &block);
            }
            _ => {
                let Some(block) = remove(&mut random) else {
                    continue;
                };
                free(state, &block);
            }
        }
    }
}

/// Bytes and blocks of each birth, by stack and in ascending order. Stacks have no common name in
/// the ledger and in the model.
type Sums = BTreeMap<u32, Vec<(u64, u64)>>;

fn in_order<K: Ord>(sums: BTreeMap<(u32, K), (u64, u64)>) -> Sums {
    let mut ordered = Sums::new();
    for ((birth, _), sum) in sums {
        ordered.entry(birth).or_default().push(sum);
    }
    ordered.values_mut().for_each(|sums| sums.sort_unstable());
    ordered
}

fn sums_of_ledger() -> Sums {
    let mut sums = BTreeMap::new();
    for_each_live(|entry| {
        let birth = Birth {
            cycle: entry.birth,
            phase: entry.phase,
        };
        let key = (birth.packed(), entry.stack_id);
        let sum = sums.entry(key).or_insert((0, 0));
        *sum = (sum.0 + entry.bytes, sum.1 + entry.blocks);
    });
    in_order(sums)
}

fn sums_of_model(pool: &[LiveBlock]) -> Sums {
    let mut sums = BTreeMap::new();
    for block in pool {
        let sum = sums.entry((block.birth, block.stack)).or_insert((0, 0));
        *sum = (sum.0 + block.layout.size() as u64, sum.1 + 1);
    }
    in_order(sums)
}

/// Sets a flag when it is dropped, also if an assertion fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs rounds of threads that end, while another thread takes one census after the other. After
/// each round the ledger must equal the model.
fn check_against_model(state: State, seed: u64) {
    const ROUNDS: u32 = 12;
    static EXIT_HANDLER: Once = Once::new();
    EXIT_HANDLER.call_once(thread::give_back_records_at_exit);
    let before = totals();
    let pool = Mutex::new(Vec::new());
    // The blocks of one birth stay live, so that every census must have all of them.
    let stable = Birth {
        cycle: 1000,
        phase: 7,
    };
    set_now(stable);
    let layout = Layout::from_size_align(100, 4).unwrap();
    let stable_blocks: Vec<LiveBlock> = (0..50)
        .map(|_| LiveBlock {
            at: allocate(state, 0, layout).expose_provenance(),
            layout,
            stack: stack(state, 0, layout),
            birth: stable.packed(),
        })
        .collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                let seen = sums_of_ledger().remove(&stable.packed());
                assert_eq!(seen.as_deref(), Some(&[(5000, 50)][..]));
            }
        });
        let _done = SetOnDrop(&is_done);
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
                    threads.spawn(move || random_calls(state, birth, seed, pool));
                }
            });
            let mut of_ledger = sums_of_ledger();
            of_ledger.remove(&stable.packed());
            // Not `assert_eq`, which would print both.
            assert!(of_ledger == sums_of_model(&pool.lock().unwrap()), "{round}");
        }
    });
    let pool = pool.into_inner().unwrap();
    let live = totals();
    assert_eq!(
        live.live_blocks - before.live_blocks,
        (pool.len() + stable_blocks.len()) as u64
    );
    for block in pool.iter().chain(&stable_blocks) {
        free(state, block);
    }
    let after = totals();
    assert_eq!(
        (after.live_bytes, after.live_blocks),
        (before.live_bytes, before.live_blocks)
    );
    assert_eq!(after.unknown_frees, before.unknown_frees);
    assert_eq!(sums_of_ledger(), Sums::new());
    assert!(layouts(|all| all.is_empty()), "all blocks were freed");
}

#[test]
fn the_ledger_equals_a_plain_model_after_any_calls() {
    let _exclusive = EXCLUSIVE.lock().unwrap();
    for seed in 0..8 {
        check_against_model(State::new(Backend::Inner, Mode::Every), seed);
    }
}

#[cfg(feature = "jemalloc")]
#[test]
fn the_ledger_equals_a_plain_model_over_jemalloc() {
    let _exclusive = EXCLUSIVE.lock().unwrap();
    assert_eq!(choose_unwinder(), Unwinder::FramePointers);
    for seed in 0..8 {
        check_against_model(State::JEMALLOC, seed);
        check_against_model(startup::with_keys(State::JEMALLOC), seed);
    }
}

#[cfg(feature = "jemalloc")]
#[test]
fn an_allocation_that_fails_leaves_no_trace() {
    let _exclusive = EXCLUSIVE.lock().unwrap();
    let huge = Layout::from_size_align(isize::MAX as usize - 4096, 8).unwrap();
    let small = Layout::from_size_align(64, 8).unwrap();
    let state = startup::with_keys(State::JEMALLOC);
    for _ in 0..600 {
        // However large it is, the next allocation is recorded.
        assert!(!sampler::try_skip(huge.size()));
        assert!(allocate(state, 0, huge).is_null());
        assert!(!sampler::try_skip(small.size()));
        let at = allocate(state, 0, small).expose_provenance();
        let block = LiveBlock {
            at,
            layout: small,
            stack: stack(state, 0, small),
            birth: 0,
        };
        assert!(!sampler::try_skip(huge.size()));
        assert!(reallocate(state, 4, &block, huge.size()).is_null());
        assert!(origin(at).is_some(), "it lives on");
        free(state, &block);
        assert!(origin(at).is_none());
    }
}

#[test]
fn the_ledger_equals_a_plain_model_if_every_byte_is_a_sample() {
    let _exclusive = EXCLUSIVE.lock().unwrap();
    sampler::set_interval(1);
    for seed in 0..8 {
        check_against_model(State::new(Backend::Inner, Mode::Sampled), seed);
    }
    sampler::set_interval(0);
}

#[test]
fn a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not() {
    let _exclusive = EXCLUSIVE.lock().unwrap();
    // About every other block of the mean size is sampled.
    sampler::set_interval(4096);
    let pool = Mutex::new(Vec::new());
    let state = State::new(Backend::Inner, Mode::Sampled);
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let pool = &pool;
            threads.spawn(move || {
                (0..20).for_each(|i| random_calls(state, 8, thread << 8 | i, pool));
            });
        }
    });
    let pool = pool.into_inner().unwrap();
    let is_page_aligned = |block: &&LiveBlock| block.at.is_multiple_of(4096);
    let sampled = pool.iter().filter(is_page_aligned).count();
    assert!(
        sampled > pool.len() / 4 && sampled < pool.len() * 3 / 4,
        "{sampled}"
    );
    pool.iter().for_each(|block| free(state, block));
    sampler::set_interval(0);
    assert_eq!(sums_of_ledger(), Sums::new());
    assert!(layouts(|all| all.is_empty()), "all blocks were freed");
}
