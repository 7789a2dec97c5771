//! The kinds of call sites, with their truth.

use afterdrop::bench::{Block, Random};

use crate::generators::{
    compacted, copied, ever_slower, evicting, filling, leak_every, maps_of_keys, pool_with_peaks,
    popular_keys, random_keys, random_leak, sharded, shrunk, slab, some_sweep, square_root, tables,
    uneven_keys, waves,
};
use crate::noise::Noise;
use crate::{HORIZON, MODEL};

/// What a call site does.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Truth {
    /// It grows without bound.
    Leak,
    /// It grows without bound, but so slowly beside other blocks that a run may end undecided.
    Hidden,
    /// It grows without bound, but at random and seldom; at most 5 % may be called clean.
    Sparse,
    /// It stops growing, or frees its blocks, within the horizon.
    Bounded,
    /// It is bounded, but fills for longer than the horizon, at a falling rate. The horizon promises
    /// nothing about it; at most this percentage may be called a leak.
    Beyond(u32),
}

/// The noise beside which a leak of a few bytes per cycle cannot be seen in the sum of bytes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum HiddenBy {
    Nothing,
    HeavyNoise,
    AnyNoise,
}

/// A kind of call site.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) truth: Truth,
    /// Its blocks in a run of this many cycles.
    pub(crate) blocks: fn(u32, &mut Random) -> Vec<Block>,
    /// Bytes that are live in each cycle before the drop, these blocks included; 0 if no model is
    /// loaded.
    pub(crate) loaded: u64,
    /// The data is copied at least every twelfth cycle, so no block of it is retained.
    pub(crate) is_copied: bool,
    pub(crate) hidden_by: HiddenBy,
}

impl Kind {
    pub(crate) fn is_hidden_by(&self, noise: &Noise) -> bool {
        match self.hidden_by {
            HiddenBy::Nothing => false,
            HiddenBy::HeavyNoise => noise.is_heavy,
            HiddenBy::AnyNoise => noise.is_noise,
        }
    }
}

const DEFAULT: Kind = Kind {
    name: "",
    truth: Truth::Bounded,
    blocks: |_, _| Vec::new(),
    loaded: 0,
    is_copied: false,
    hidden_by: HiddenBy::Nothing,
};

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "leak every cycle",
        truth: Truth::Leak,
        blocks: |n, _| leak_every(n, 1, 1),
        ..DEFAULT
    },
    Kind {
        name: "leak every 2 to 5",
        truth: Truth::Leak,
        blocks: |n, r| {
            let every = 2 + r.below(4) as u32;
            leak_every(n, every, 1 + r.below(u64::from(every)) as u32)
        },
        ..DEFAULT
    },
    Kind {
        name: "leak every tenth",
        truth: Truth::Leak,
        blocks: |n, r| leak_every(n, 10, 1 + r.below(10) as u32),
        ..DEFAULT
    },
    Kind {
        name: "leak in 1 of 3 cycles",
        truth: Truth::Leak,
        blocks: |n, r| {
            let births = (1..=n).filter(|_| r.below(3) == 0);
            births.map(|k| (k, None, 64)).collect()
        },
        ..DEFAULT
    },
    Kind {
        name: "leak by realloc",
        truth: Truth::Leak,
        blocks: |n, _| {
            (1..=n)
                .map(|k| (k, Some(k + 1), 64 * u64::from(k)))
                .collect()
        },
        hidden_by: HiddenBy::HeavyNoise,
        ..DEFAULT
    },
    Kind {
        name: "leak from cycle 31 on",
        truth: Truth::Leak,
        blocks: |n, _| leak_every(n, 1, 31),
        ..DEFAULT
    },
    Kind {
        name: "leak and a late cache",
        truth: Truth::Leak,
        blocks: |n, r| {
            let mut blocks = leak_every(n, 1, 1);
            blocks.extend((1..=1 + r.below(40) as u32).map(|k| (k, None, 4096)));
            blocks
        },
        ..DEFAULT
    },
    Kind {
        name: "registry, copied",
        truth: Truth::Leak,
        blocks: |n, r| copied(n, 2 + r.below(11) as u32, usize::MAX),
        is_copied: true,
        hidden_by: HiddenBy::HeavyNoise,
        ..DEFAULT
    },
    Kind {
        name: "log, shrunk",
        truth: Truth::Leak,
        blocks: |n, r| shrunk(n, 2 + r.below(11) as u32),
        is_copied: true,
        hidden_by: HiddenBy::AnyNoise,
        ..DEFAULT
    },
    Kind {
        name: "leak below waves of 30 to 60",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let (period, leaked_every) = (30 + r.below(31) as u32, 1 + r.below(8) as u32);
            waves(n, period, r.below(2) == 0, leaked_every)
        },
        ..DEFAULT
    },
    Kind {
        name: "sweep that keeps some",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let period = 3 + r.below(20) as u32;
            compacted(n, period, 1 + r.below(u64::from(period) / 2) as u32)
        },
        ..DEFAULT
    },
    Kind {
        name: "sharded map",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let shards = 4 << r.below(4);
            sharded(n, shards, r)
        },
        is_copied: true,
        hidden_by: HiddenBy::AnyNoise,
        ..DEFAULT
    },
    Kind {
        name: "slab, pages double",
        truth: Truth::Hidden,
        blocks: |n, r| slab(n, 1 + r.below(4) as u32),
        hidden_by: HiddenBy::AnyNoise,
        ..DEFAULT
    },
    Kind {
        name: "sharded cache that fills",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let (stops, shards) = (1 + r.below(u64::from(HORIZON)) as u32, 4 << r.below(4));
            sharded(stops, shards, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "slab that fills",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let stops = 1 + r.below(u64::from(HORIZON)) as u32;
            slab(stops, 1 + r.below(4) as u32)
        },
        ..DEFAULT
    },
    Kind {
        name: "noise only",
        truth: Truth::Bounded,
        blocks: |_, _| Vec::new(),
        ..DEFAULT
    },
    Kind {
        name: "cache, one per cycle",
        truth: Truth::Bounded,
        blocks: |_, r| filling(640, r),
        ..DEFAULT
    },
    Kind {
        name: "cache, random keys",
        truth: Truth::Bounded,
        blocks: |_, r| {
            // Nothing is asked for after the horizon.
            let keys = 2 + r.below(20);
            random_keys(HORIZON, keys, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "cache, oldest evicted",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 40, 700, r),
        ..DEFAULT
    },
    Kind {
        name: "cache, evicts in bursts",
        truth: Truth::Bounded,
        blocks: |n, r| {
            // Fills up to `most` entries, then evicts all but `least`.
            let most = 4 + r.below(28) as usize;
            let least = r.below(most as u64 / 2) as usize;
            let (mut entries, mut blocks) = (Vec::new(), Vec::new());
            for k in 1..=n {
                entries.push(k);
                if entries.len() > most {
                    let evicted = entries.len() - least;
                    blocks.extend(entries.drain(..evicted).map(|b| (b, Some(k + 1), 500)));
                }
            }
            blocks.extend(entries.into_iter().map(|b| (b, None, 500)));
            blocks
        },
        ..DEFAULT
    },
    Kind {
        name: "sweep within the horizon",
        truth: Truth::Bounded,
        blocks: some_sweep,
        ..DEFAULT
    },
    Kind {
        name: "backlog of 1 to 6",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 6, MODEL, r),
        ..DEFAULT
    },
    Kind {
        name: "random lifetimes",
        truth: Truth::Bounded,
        blocks: |n, r| {
            let mean = 1.0 + 9.0 * r.unit();
            (1..=n)
                .map(|k| {
                    let lifetime = (-mean * (1.0 - r.unit()).ln()).min(40.0);
                    (k, Some(k + 1 + lifetime as u32), 10)
                })
                .collect()
        },
        ..DEFAULT
    },
    Kind {
        name: "vector that doubles",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let doublings = 1 + r.below(6) as u32;
            let grown = (0..doublings).map(|i| (1 << i, Some(2 << i), 64 << i));
            grown
                .chain([(1 << doublings, None, 64 << doublings)])
                .collect()
        },
        ..DEFAULT
    },
    Kind {
        name: "late initialisation",
        truth: Truth::Bounded,
        blocks: |_, r| vec![(1 + r.below(u64::from(HORIZON)) as u32, None, 336)],
        ..DEFAULT
    },
    Kind {
        name: "pool that grows to its limit",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let mut at = 1;
            let mut blocks = Vec::new();
            while at <= HORIZON && blocks.len() < 16 {
                blocks.push((at, None, 8192));
                at += 1 + r.below(6) as u32;
            }
            blocks
        },
        ..DEFAULT
    },
    Kind {
        name: "leak that stops",
        truth: Truth::Bounded,
        blocks: |_, r| leak_every(20 + r.below(u64::from(HORIZON) - 20) as u32, 1, 1),
        ..DEFAULT
    },
    Kind {
        name: "bounded registry, copied",
        truth: Truth::Bounded,
        blocks: |n, r| {
            let every = 2 + r.below(11) as u32;
            copied(n, every, 1 + r.below(u64::from(HORIZON - every)) as usize)
        },
        ..DEFAULT
    },
    Kind {
        name: "waves of 10 to 50",
        truth: Truth::Bounded,
        blocks: |n, r| waves(n, 10 + r.below(41) as u32, r.below(2) == 0, 0),
        ..DEFAULT
    },
    Kind {
        name: "leak of whole models",
        truth: Truth::Leak,
        blocks: |n, _| (1..=n).map(|k| (k, None, MODEL)).collect(),
        loaded: MODEL + MODEL / 20,
        ..DEFAULT
    },
    Kind {
        name: "cache beside a small model",
        truth: Truth::Bounded,
        blocks: |_, r| filling(8 * MODEL, r),
        loaded: 9 * MODEL,
        ..DEFAULT
    },
    Kind {
        name: "evicting beside a small model",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 40, 8 * MODEL, r),
        loaded: 9 * MODEL,
        ..DEFAULT
    },
    Kind {
        name: "sweep beside a small model",
        truth: Truth::Bounded,
        blocks: some_sweep,
        loaded: 1012,
        ..DEFAULT
    },
    Kind {
        name: "backlog of 1 to 6 models",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 6, MODEL, r),
        loaded: MODEL,
        ..DEFAULT
    },
    Kind {
        name: "cache, ever slower to 500",
        truth: Truth::Beyond(5),
        hidden_by: HiddenBy::HeavyNoise,
        blocks: |n, r| {
            let half = 16 + r.below(33) as u32;
            ever_slower(n, half, 500, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "equal entries, as the square root",
        truth: Truth::Beyond(5),
        hidden_by: HiddenBy::HeavyNoise,
        blocks: |n, r| square_root(n, 3.0 + 12.0 * r.unit(), 400),
        ..DEFAULT
    },
    Kind {
        name: "cache of 20 to 60 random keys",
        truth: Truth::Beyond(5),
        blocks: |n, r| {
            let keys = 20 + r.below(41);
            random_keys(n, keys, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "cache of 61 to 200 random keys",
        truth: Truth::Beyond(30),
        blocks: |n, r| {
            let keys = 61 + r.below(140);
            random_keys(n, keys, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "cache of 100 to 800 uneven keys",
        truth: Truth::Beyond(50),
        blocks: |n, r| {
            let keys = 100 + r.below(701);
            uneven_keys(n, keys, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "20 to 60 keys, popular as 1 / k²",
        truth: Truth::Beyond(30),
        blocks: |n, r| {
            let keys = 20 + r.below(41);
            popular_keys(n, keys, 2.0, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "40 to 200 keys, popular as 1 / k",
        truth: Truth::Beyond(60),
        blocks: |n, r| {
            let keys = 40 + r.below(161);
            popular_keys(n, keys, 1.0, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "pool of 31 with rare peaks",
        truth: Truth::Beyond(1),
        blocks: |n, r| {
            let (usual, rare) = (1 + r.below(3), 2 + r.below(6));
            pool_with_peaks(n, usual, rare, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "maps that fill ever more slowly",
        truth: Truth::Beyond(15),
        blocks: |n, r| {
            let (workers, keys) = (4 << r.below(4), 50 + r.below(151));
            maps_of_keys(n, workers, keys, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "random leak and a cache",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let (every, keys) = (2 + r.below(3), 5 + r.below(16));
            let mut blocks = random_leak(n, every, 640, r);
            blocks.extend(random_keys(HORIZON, keys, r));
            blocks
        },
        ..DEFAULT
    },
    Kind {
        name: "leak in 1 of 5 to 15 cycles",
        truth: Truth::Sparse,
        blocks: |n, r| {
            let every = 5 + r.below(11);
            random_leak(n, every, 512, r)
        },
        ..DEFAULT
    },
    Kind {
        name: "tables that double",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let many = 1 + r.below(6);
            tables(n, many, r)
        },
        is_copied: true,
        hidden_by: HiddenBy::AnyNoise,
        ..DEFAULT
    },
    Kind {
        name: "tables that double, then stop",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let (stops, many) = (1 + r.below(u64::from(HORIZON)) as u32, 1 + r.below(6));
            tables(stops, many, r)
        },
        ..DEFAULT
    },
];
