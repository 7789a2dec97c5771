//! What the censuses say about one call site, boundary by boundary.

use crate::base::vec_map::VecMap;

/// The survivors of one birth cycle at one call site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// The boundary of its birth cycle, counted from 1 after the baseline.
    pub(crate) born: u32,
    /// The first boundary at which none of it was left; `None` if it is live at the last one.
    pub(crate) freed: Option<u32>,
    /// Live bytes at the last boundary at which it was seen.
    pub(crate) bytes: u64,
    /// Live blocks at the last boundary at which it was seen.
    pub(crate) blocks: u64,
}

/// The series of one call site. Whatever was born in the warm-up is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    /// Live bytes at each boundary after the baseline.
    pub(crate) bytes: Vec<u64>,
    /// Live blocks at each boundary after the baseline.
    pub(crate) blocks: Vec<u64>,
    /// Live generations at each boundary after the baseline.
    pub(crate) live_generations: Vec<u32>,
    /// All generations that were live at any boundary, ordered by birth.
    pub(crate) generations: Vec<Generation>,
    /// The warm-up generations that are live at the last boundary, ordered by birth: the boundary of
    /// the birth cycle, where 0 is the baseline, and the live bytes.
    pub(crate) warmup: Vec<(i64, u64)>,
    /// The longest lifetime, in boundaries, of a warm-up generation that was freed after the
    /// baseline. It counts towards [`Series::longest_lifetime`].
    pub(crate) warmup_lifetime: u32,
    /// The blocks are allocated while a model is loaded.
    pub(crate) from_load: bool,
}

impl Series {
    /// The number of boundaries after the baseline.
    pub(super) fn boundaries(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// The longest lifetime, in boundaries, of a generation that was freed; 0 if none was.
    pub(super) fn longest_lifetime(&self) -> u32 {
        let lifetimes = self.generations.iter();
        lifetimes
            .filter_map(|g| g.freed.map(|freed| freed.saturating_sub(g.born)))
            .chain([self.warmup_lifetime])
            .max()
            .unwrap_or(0)
    }

    /// The generations that are live at the last boundary.
    pub(super) fn live(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter().filter(|g| g.freed.is_none())
    }

    /// The live generations that are older than the longest lifetime.
    pub(crate) fn retained(&self) -> Vec<Generation> {
        let (n, longest) = (self.boundaries(), self.longest_lifetime());
        self.live()
            .copied()
            .filter(|g| n + 1 - g.born > longest)
            .collect()
    }

    /// The sum of several call sites, as if they were one.
    pub(super) fn pooled<'a>(call_sites: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        let mut by_birth: VecMap<u32, Generation> = VecMap::new();
        for site in call_sites {
            let n = site.bytes.len().max(all.bytes.len());
            all.bytes.resize(n, 0);
            all.blocks.resize(n, 0);
            for k in 0..site.bytes.len() {
                all.bytes[k] += site.bytes[k];
                all.blocks[k] += site.blocks[k];
            }
            all.warmup_lifetime = all.warmup_lifetime.max(site.warmup_lifetime);
            for g in &site.generations {
                let new = Generation {
                    bytes: 0,
                    blocks: 0,
                    ..*g
                };
                let sum = by_birth.get_or_insert(g.born, new);
                sum.freed = sum.freed.zip(g.freed).map(|(a, b)| a.max(b));
                sum.bytes += g.bytes;
                sum.blocks += g.blocks;
            }
        }
        let n = all.bytes.len() as u32;
        all.live_generations = vec![0; n as usize];
        all.generations = by_birth.iter().map(|&(_, g)| g).collect();
        for g in &all.generations {
            let end = g.freed.map_or(n, |freed| (freed - 1).min(n));
            for live in &mut all.live_generations[(g.born.max(1) - 1) as usize..end as usize] {
                *live += 1;
            }
        }
        all
    }
}
