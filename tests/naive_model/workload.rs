//! Random calls of the allocator, and the naive model: a list of the blocks that are live.
//!
//! Each phase of each cycle is a round in which several threads work at once. Some live for the whole
//! run, and start others that work for a moment. A block is a slot of the list; whoever chooses the
//! slot reallocates or frees the block, so that it is mostly not the thread that has allocated it.

use std::alloc::{Layout, dealloc};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};

use afterdrop::bench::Random;
use afterdrop::workloads::Entry;
use afterdrop::{Failure, Model, Phase, Prediction, Workload};

use super::calls::{Chain, Request, call};

/// The workload's name.
pub const NAME: &str = "naive-model";

/// Cycles of a run.
pub const CYCLES: usize = 20;

/// The cycle with the defect, if there is one.
pub const DEFECT_IN: usize = 9;

pub const ENV_SEED: &str = "NAIVE_MODEL_SEED";
pub const ENV_OPERATIONS: &str = "NAIVE_MODEL_OPERATIONS";
/// The file that the model writes.
pub const ENV_TRUTH: &str = "NAIVE_MODEL_TRUTH";
/// The name of a [`Defect`]; empty for none.
pub const ENV_DEFECT: &str = "NAIVE_MODEL_DEFECT";

/// A planted defect, which a test must see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    None,
    /// The model misses a free.
    MissedFree,
    /// A block is read after it was freed.
    UseAfterFree,
    /// A block is written by two threads at once.
    Race,
}

impl FromStr for Defect {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        match name {
            "" => Ok(Self::None),
            "missed-free" => Ok(Self::MissedFree),
            "use-after-free" => Ok(Self::UseAfterFree),
            "race" => Ok(Self::Race),
            other => Err(format!("{ENV_DEFECT}={other} is no defect").into()),
        }
    }
}

/// Threads that live for the whole run, beside the main thread.
const THREADS: u64 = 3;

/// Calls of a thread that is started in a round.
const SHORT: u64 = 200;

/// The most blocks that are live at once.
const SLOTS: usize = 1 << 14;

/// Slots whose blocks mostly survive several cycles, however many calls a cycle has.
const COLD_SLOTS: usize = SLOTS / 2;

/// A live block.
struct Block {
    at: *mut u8,
    layout: Layout,
    /// The cycle and the number of the phase.
    birth: (u32, u32),
    chain: Chain,
    /// The function that called the allocator.
    caller: &'static str,
}

// SAFETY: a block belongs to whoever has its slot, on any thread.
unsafe impl Send for Block {}

impl Block {
    /// Marks both ends of the block, so that two blocks that overlap are found.
    fn mark(&self) {
        let mark = self.layout.size() as u8;
        // SAFETY: the block is live, is not empty, and belongs to the caller.
        unsafe {
            self.at.write(mark);
            self.at.add(self.layout.size() - 1).write(mark);
        }
    }

    fn check(&self) {
        let mark = self.layout.size() as u8;
        // SAFETY: the block is live, is not empty, belongs to the caller, and was marked.
        let found = unsafe { [self.at.read(), self.at.add(self.layout.size() - 1).read()] };
        assert_eq!(found, [mark; 2], "the ends of {:?}", self.layout);
    }

    /// Marks the block on two threads at once.
    fn race(&self) {
        std::thread::scope(|threads| {
            let block = Self {
                at: self.at,
                ..*self
            };
            threads.spawn(move || block.mark());
            self.mark();
        });
    }
}

/// What the threads share. It is allocated before the first cycle, and lives for the whole run.
struct Shared {
    slots: Vec<Mutex<Option<Block>>>,
    /// The chains of most calls.
    chains: Vec<Chain>,
    cycle: AtomicU32,
    phase: AtomicU32,
    seed: u64,
    /// Calls of a thread in a round.
    share: u64,
    defect: Defect,
    /// Whether there was a free in the cycle with the defect.
    is_planted: AtomicBool,
    /// The block whose free the model has missed.
    missed: Mutex<Option<Block>>,
    round: Mutex<Round>,
    changed: Condvar,
}

#[derive(Default)]
struct Round {
    number: u64,
    /// Threads that have not finished it, without the main thread.
    running: u64,
}

impl Shared {
    fn new() -> Result<Self, Failure> {
        let number = |name| -> Result<u64, Failure> { Ok(std::env::var(name)?.parse()?) };
        let seed = number(ENV_SEED)?;
        let mut random = Random::new(seed);
        Ok(Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            chains: (0..256).map(|_| Chain::random(&mut random)).collect(),
            cycle: AtomicU32::new(0),
            phase: AtomicU32::new(0),
            seed,
            share: number(ENV_OPERATIONS)?.div_ceil(CYCLES as u64 * 3 * (THREADS + 1)),
            defect: std::env::var(ENV_DEFECT)?.parse()?,
            is_planted: AtomicBool::new(false),
            missed: Mutex::default(),
            round: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Works in all threads, in a phase of the present cycle.
    fn work(&'static self, phase: Phase) {
        self.phase.store(phase as u32, Relaxed);
        let mut round = self.round.lock().unwrap();
        round.number += 1;
        round.running = THREADS;
        let number = round.number;
        drop(round);
        self.changed.notify_all();
        self.calls_of_thread(number, 0);
        let round = self.round.lock().unwrap();
        drop(self.changed.wait_while(round, |round| round.running > 0));
    }

    /// A thread that works in each round. It ends with the process.
    fn work_in_each_round(&'static self, thread: u64) {
        for number in 1.. {
            let round = self.round.lock().unwrap();
            drop(self.changed.wait_while(round, |r| r.number < number));
            self.calls_of_thread(number, thread);
            self.round.lock().unwrap().running -= 1;
            self.changed.notify_all();
        }
    }

    fn calls_of_thread(&'static self, round: u64, thread: u64) {
        let mut random = Random::new(self.seed << 32 | round << 8 | thread);
        let mut left = self.share;
        while left > 0 {
            let mut calls = 1;
            if left > SHORT && random.below(1000) == 0 {
                calls = SHORT;
                let mut random = Random::new(random.any());
                let thread = std::thread::spawn(move || {
                    (0..SHORT).for_each(|_| self.random_call(&mut random))
                });
                thread.join().unwrap();
            } else {
                self.random_call(&mut random);
            }
            left -= calls;
        }
    }

    fn random_call(&self, random: &mut Random) {
        // Each cold slot is chosen in about one of four cycles.
        let calls_of_cycle = 3 * (THREADS + 1) * self.share;
        let slot = match random.below(calls_of_cycle) < COLD_SLOTS as u64 / 4 {
            true => random.index(COLD_SLOTS),
            false => COLD_SLOTS + random.index(SLOTS - COLD_SLOTS),
        };
        let mut slot = self.slots[slot].lock().unwrap();
        *slot = match slot.take() {
            None => Some(self.allocate(random)),
            Some(block) if random.below(5) < 2 => Some(self.reallocate(block, random)),
            Some(block) => {
                block.check();
                let has_defect = self.cycle.load(Relaxed) as usize == DEFECT_IN
                    && !self.is_planted.swap(true, Relaxed);
                match self.defect {
                    Defect::Race if has_defect => block.race(),
                    _ => {}
                }
                // SAFETY: the block is live, has this layout, and is now in no slot.
                unsafe { dealloc(block.at, block.layout) };
                match self.defect {
                    Defect::MissedFree if has_defect => *self.missed.lock().unwrap() = Some(block),
                    Defect::UseAfterFree if has_defect => block.check(),
                    _ => {}
                }
                None
            }
        };
    }

    /// A new block with the birth of now, after a call of the allocator.
    fn block(&self, request: Request, layout: Layout, random: &mut Random) -> Block {
        let chain = match random.below(256) {
            // Mostly a stack that the recorder has not seen yet.
            0 => Chain::random(random),
            any => self.chains[any as usize],
        };
        let at = call(chain, request);
        assert!(!at.is_null() && at.addr().is_multiple_of(layout.align()));
        Block {
            at,
            layout,
            birth: (self.cycle.load(Relaxed), self.phase.load(Relaxed)),
            chain,
            caller: request.name(),
        }
    }

    fn allocate(&self, random: &mut Random) -> Block {
        let most = if random.below(8) == 0 { 13 } else { 5 };
        let align = 1 << random.below(most);
        let layout = Layout::from_size_align(random_size(random), align).unwrap();
        let is_zeroed = random.below(2) == 0;
        let request = if is_zeroed {
            Request::AllocZeroed(layout)
        } else {
            Request::Alloc(layout)
        };
        let block = self.block(request, layout, random);
        // SAFETY: the block is new and not empty, and its bytes are zero.
        if is_zeroed && unsafe { block.at.read() | block.at.add(layout.size() - 1).read() } != 0 {
            panic!("{layout:?} is not zeroed");
        }
        block.mark();
        block
    }

    fn reallocate(&self, old: Block, random: &mut Random) -> Block {
        old.check();
        let layout = Layout::from_size_align(random_size(random), old.layout.align()).unwrap();
        let request = Request::Realloc(old.at, old.layout, layout.size());
        let block = self.block(request, layout, random);
        // SAFETY: the block is live and not empty, and `realloc` has kept its first byte.
        let first = unsafe { block.at.read() };
        assert_eq!(first, old.layout.size() as u8, "{:?}", old.layout);
        block.mark();
        block
    }

    /// Writes what is live, by birth cycle, phase and stack.
    fn write(&self, file: &mut File) -> Result<(), Failure> {
        let mut sums = BTreeMap::<_, (u64, u64)>::new();
        for slot in self.slots.iter().chain([&self.missed]) {
            if let Some(block) = &*slot.lock().unwrap() {
                let key = (block.birth, block.chain, block.caller);
                let sum = sums.entry(key).or_default();
                *sum = (sum.0 + block.layout.size() as u64, sum.1 + 1);
            }
        }
        let mut text = String::new();
        for (((cycle, phase), chain, caller), (bytes, blocks)) in sums {
            let boundary = self.cycle.load(Relaxed);
            text += &format!("{boundary} {cycle} {phase} {bytes} {blocks}");
            for name in chain.names().chain([caller]) {
                text += " ";
                text += name;
            }
            text += "\n";
        }
        Ok(file.write_all(text.as_bytes())?)
    }
}

/// Mostly small, sometimes larger than what allocators cache.
fn random_size(random: &mut Random) -> usize {
    let most = match random.below(256) {
        0 => 1 << 19,
        1..32 => 1 << 13,
        _ => 1 << 8,
    };
    1 + random.index(most)
}

/// The workload whose cycles are the rounds.
struct Rounds {
    shared: &'static Shared,
    truth: File,
}

struct Loaded(&'static Shared);

impl Workload for Rounds {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        self.shared.cycle.fetch_add(1, Relaxed);
        self.shared.work(Phase::Load);
        Ok(Box::new(Loaded(self.shared)))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.shared.write(&mut self.truth)
    }
}

impl Model for Loaded {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        self.0.work(Phase::Infer);
        Ok(Vec::new())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.work(Phase::Drop);
    }
}

/// The workload of the naive model. Its settings are in the environment.
pub fn entry() -> Entry {
    Entry::new(NAME, "", |_| {
        let truth = std::env::var_os(ENV_TRUTH).ok_or("the truth has no file")?;
        let truth = File::create(truth)?;
        let shared: &Shared = Box::leak(Box::new(Shared::new()?));
        for thread in 1..=THREADS {
            // An assertion that fails there ends the process: the main thread would wait for ever.
            std::thread::spawn(move || {
                let work = || shared.work_in_each_round(thread);
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
                    std::process::abort();
                }
            });
        }
        Ok(Box::new(Rounds { shared, truth }))
    })
}
