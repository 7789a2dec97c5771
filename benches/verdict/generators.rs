//! Series of blocks, by what a call site does with them. Cycles are counted from 1.

use afterdrop::bench::{Block, Random};

use crate::HORIZON;

/// A block in every `every`th cycle from `first` on, none of which is freed.
pub(crate) fn leak_every(n: u32, every: u32, first: u32) -> Vec<Block> {
    (first..=n)
        .step_by(every as usize)
        .map(|k| (k, None, 16))
        .collect()
}

/// A block per cycle; all are freed together every `period` cycles.
fn sweep(n: u32, period: u32, offset: u32) -> Vec<Block> {
    (1..=n)
        .map(|k| (k, Some((k + offset).next_multiple_of(period) - offset), 900))
        .collect()
}

/// A sweep of a random period within the horizon, with a random offset.
pub(crate) fn some_sweep(n: u32, r: &mut Random) -> Vec<Block> {
    let period = 2 + r.below(u64::from(HORIZON) - 2) as u32;
    sweep(n, period, r.below(u64::from(period)) as u32)
}

/// A cache that gains one entry per cycle until it is full. Its size is random, at most the horizon.
pub(crate) fn filling(bytes: u64, r: &mut Random) -> Vec<Block> {
    let size = 1 + r.below(u64::from(HORIZON)) as u32;
    (1..=size).map(|k| (k, None, bytes)).collect()
}

/// A cache that gains one entry per cycle and evicts the oldest. Its size is random, at most `max`.
pub(crate) fn evicting(n: u32, max: u64, bytes: u64, r: &mut Random) -> Vec<Block> {
    let size = 1 + r.below(max) as u32;
    (1..=n).map(|k| (k, Some(k + size), bytes)).collect()
}

/// A cache that is asked for one of `keys` random keys in each cycle up to `asked`.
pub(crate) fn random_keys(asked: u32, keys: u64, r: &mut Random) -> Vec<Block> {
    let mut seen = std::collections::BTreeSet::new();
    let new = (1..=asked).filter(|_| seen.insert(r.below(keys)));
    new.map(|k| (k, None, 640)).collect()
}

/// A registry that gains an entry of 200 bytes per cycle, in a buffer that doubles. Every `every`th
/// cycle replaces it by a copy of its newest `max` entries.
pub(crate) fn copied(n: u32, every: u32, max: usize) -> Vec<Block> {
    let (mut entries, mut capacity, mut buffer) = (Vec::new(), 0, 1);
    let mut blocks = Vec::new();
    for k in 1..=n {
        entries.push(k);
        if entries.len() > capacity {
            blocks.push((buffer, Some(k), 24 * capacity as u64));
            (capacity, buffer) = ((2 * capacity).max(4), k);
        }
        if k % every == 0 {
            blocks.extend(entries.iter().map(|&born| (born, Some(k), 200)));
            blocks.push((buffer, Some(k), 24 * capacity as u64));
            capacity = entries.len().min(max);
            (entries, buffer) = (vec![k; capacity], k);
        }
    }
    blocks.extend(entries.into_iter().map(|born| (born, None, 200)));
    blocks.push((buffer, None, 24 * capacity as u64));
    blocks
}

/// A log that gains 500 bytes per cycle, in a buffer that doubles. Every `every`th cycle shrinks the
/// buffer to its content.
pub(crate) fn shrunk(n: u32, every: u32) -> Vec<Block> {
    let (mut size, mut capacity, mut born) = (0, 0, 1);
    let mut blocks = Vec::new();
    for k in 1..=n {
        size += 500;
        let grown = if size > capacity { 2 * size } else { capacity };
        let now = if k % every == 0 { size } else { grown };
        if now != capacity {
            blocks.push((born, Some(k), capacity));
            (capacity, born) = (now, k);
        }
    }
    blocks.push((born, None, capacity));
    blocks
}

/// A map in `shards` parts that gains one entry per cycle in each part on average, up to cycle `stops`.
/// Each part doubles its table when it is full.
pub(crate) fn sharded(stops: u32, shards: u64, r: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut parts = vec![(0_u64, 0_u64, 1_u32); shards as usize];
    for k in 1..=stops {
        for _ in 0..shards {
            let (entries, capacity, born) = &mut parts[r.below(shards) as usize];
            *entries += 1;
            if *entries > *capacity {
                blocks.push((*born, Some(k), 40 * *capacity));
                (*capacity, *born) = ((2 * *capacity).max(4), k);
            }
        }
    }
    let tables = parts.into_iter();
    blocks.extend(tables.map(|(_, capacity, born)| (born, None, 40 * capacity)));
    blocks
}

/// A slab that gains `per_cycle` slots in each cycle up to cycle `stops`. Its first page, of the warm-up,
/// has 32 slots, and each further page twice as many as the one before.
pub(crate) fn slab(stops: u32, per_cycle: u32) -> Vec<Block> {
    let (mut slots, mut page, mut used) = (32, 32, 0);
    let mut blocks = Vec::new();
    for k in 1..=stops {
        used += per_cycle;
        while used > slots {
            page *= 2;
            slots += page;
            blocks.push((k, None, 96 * u64::from(page)));
        }
    }
    blocks
}

/// A cache that keeps less and less of what each cycle adds, up to cycle `stops`: half as much after
/// each `half` cycles. What is evicted lives for some cycles.
pub(crate) fn ever_slower(n: u32, half: u32, stops: u32, r: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    for k in 1..=n {
        let share = 0.5_f64.powf(f64::from(k) / f64::from(half));
        for entry in 0..16 {
            let is_kept = k <= stops && (entry == 0 || r.unit() < share);
            let evicted = k + 1 + r.below(6) as u32;
            blocks.push((k, (!is_kept).then_some(evicted), 100 + r.below(60)));
        }
    }
    blocks
}

/// A cache of entries of one size whose number grows as the square root of the cycles, up to a cycle.
pub(crate) fn square_root(n: u32, factor: f64, stops: u32) -> Vec<Block> {
    let entries = |k: u32| (factor * f64::from(k.min(stops)).sqrt()) as u32;
    let new = (1..=n).map(|k| (k, entries(k) - entries(k - 1)));
    new.flat_map(|(k, new)| (0..new).map(move |_| (k, None, 256)))
        .collect()
}

/// Sessions whose number varies like a sine wave. Either the oldest or the newest end first. In every
/// `leaked_every`th cycle one is never freed, unless that is 0.
pub(crate) fn waves(n: u32, period: u32, oldest_first: bool, leaked_every: u32) -> Vec<Block> {
    let mut open = std::collections::VecDeque::new();
    let mut blocks = Vec::new();
    for k in 1..=n {
        let phase = f64::from(k) * std::f64::consts::TAU / f64::from(period);
        let wanted = (30.0 + 25.0 * phase.sin()) as usize;
        while open.len() > wanted {
            let ends = if oldest_first {
                open.pop_front()
            } else {
                open.pop_back()
            };
            blocks.extend(ends.map(|born| (born, Some(k), 900)));
        }
        while open.len() < wanted {
            open.push_back(k);
        }
        if leaked_every != 0 && k % leaked_every == 0 {
            blocks.push((k, None, 900));
        }
    }
    blocks.extend(open.into_iter().map(|born| (born, None, 900)));
    blocks
}

/// Entries in a buffer that doubles. Every `period` cycles all are freed except `kept` of each
/// period.
pub(crate) fn compacted(n: u32, period: u32, kept: u32) -> Vec<Block> {
    let (mut size, mut capacity, mut buffer) = (0, 0, 1);
    let mut blocks = Vec::new();
    for k in 1..=n {
        size += 1;
        if size > capacity {
            blocks.push((buffer, Some(k), 32 * capacity));
            (capacity, buffer) = ((2 * capacity).max(4), k);
        }
        let place = (k - 1) % period;
        let sweep = k - place + period - 1;
        blocks.push((k, (place >= kept).then_some(sweep), 700));
        if k == sweep {
            size -= u64::from(period - kept);
        }
    }
    blocks.push((buffer, None, 32 * capacity));
    blocks
}

/// A cache of `keys` entries of one size, of which each cycle asks for one: the last keys so rarely
/// that it fills ever more slowly, up to the cycle `asked`.
pub(crate) fn uneven_keys(asked: u32, keys: u64, r: &mut Random) -> Vec<Block> {
    let mut seen = std::collections::BTreeSet::new();
    let mut key = || (r.below(keys) as f64 * r.unit()) as u64;
    let new = (1..=asked).filter(|_| seen.insert(key()));
    new.map(|k| (k, None, 100)).collect()
}

/// The same, where the k-th key is asked for in proportion to `1 / k^power` (Zipf's law).
pub(crate) fn popular_keys(n: u32, keys: u64, power: f64, r: &mut Random) -> Vec<Block> {
    let weights = (1..=keys).map(|k| (k as f64).powf(-power));
    let sums: Vec<f64> = weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let all = sums.last().copied().unwrap_or(0.0);
    let mut seen = std::collections::BTreeSet::new();
    let mut key = || {
        let at = all * r.unit();
        sums.partition_point(|&sum| sum <= at)
    };
    let new = (1..=n).filter(|_| seen.insert(key()));
    new.map(|k| (k, None, 96)).collect()
}

/// A block in each cycle with a probability of 1 in `every`, none of which is freed.
pub(crate) fn random_leak(n: u32, every: u64, bytes: u64, r: &mut Random) -> Vec<Block> {
    let births = (1..=n).filter(|_| r.below(every) == 0);
    births.map(|k| (k, None, bytes)).collect()
}

/// A pool that keeps what it once needed, at most 31 blocks. A cycle needs `usual` blocks more with a
/// probability of 1 in `rare`, and again, so that peaks are rare and high ones rarer.
pub(crate) fn pool_with_peaks(n: u32, usual: u64, rare: u64, r: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    // The warm-up of three cycles has filled it, too.
    for k in -2..=i64::from(n) {
        let mut needed = 1 + r.below(usual);
        while needed < 31 && r.below(rare) == 0 {
            needed += 1 + r.below(usual);
        }
        while blocks.len() < needed.min(31) as usize {
            blocks.push((k.max(0) as u32, None, 512));
        }
    }
    blocks
}

/// Tables at one call site that only double. Each gains up to three entries in each cycle, or in each
/// second to fourth, and has some from before the first cycle; all stop in cycle `stops`.
pub(crate) fn tables(stops: u32, tables: u64, r: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    for _ in 0..tables {
        let (per_cycle, every) = match r.below(6) {
            few @ ..3 => (1, 2 + few as i64),
            more => (more - 2, 1),
        };
        let (mut entries, mut capacity, mut born) = (r.below(4), 4, 0);
        for k in -2..=i64::from(stops) {
            if k.rem_euclid(every) == 0 {
                entries += per_cycle;
            }
            let now = k.max(0) as u32;
            while entries > capacity {
                blocks.push((born, Some(now), 48 * capacity));
                (capacity, born) = (2 * capacity, now);
            }
        }
        blocks.push((born, None, 48 * capacity));
    }
    blocks
}

/// The maps of `workers`, of `keys` keys each. Each cycle asks each worker for one of them, so that the
/// maps fill ever more slowly. Each doubles its table when it is full.
pub(crate) fn maps_of_keys(n: u32, workers: u64, keys: u64, r: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    for _ in 0..workers {
        let mut seen = std::collections::BTreeSet::new();
        let (mut capacity, mut born) = (0, 1);
        for k in 1..=n {
            seen.insert(r.below(keys));
            if seen.len() as u64 > capacity {
                blocks.push((born, Some(k), 40 * capacity));
                (capacity, born) = ((2 * capacity).max(4), k);
            }
        }
        blocks.push((born, None, 40 * capacity));
    }
    blocks
}
