//! Noise: blocks that are allocated and freed beside those of a kind.

use afterdrop::bench::{Block, Random};

/// Other blocks at the same call site.
pub(crate) struct Noise {
    pub(crate) name: &'static str,
    pub(crate) is_noise: bool,
    pub(crate) is_heavy: bool,
    /// Adds its blocks for a run of this many cycles.
    pub(crate) add: fn(u32, &mut Random, &mut Vec<Block>),
}

pub(crate) const NOISES: &[Noise] = &[
    Noise {
        name: "none",
        is_noise: false,
        is_heavy: false,
        add: |_, _, _| {},
    },
    Noise {
        name: "occasional short-lived blocks",
        is_noise: true,
        is_heavy: false,
        add: |n, r, blocks| {
            for k in 1..=n {
                if r.below(4) == 0 {
                    blocks.push((k, Some(k + 1), 1 + r.below(1 << 20)));
                }
            }
        },
    },
    Noise {
        name: "heavy churn, lifetimes up to 3",
        is_noise: true,
        is_heavy: true,
        add: |n, r, blocks| {
            for k in 1..=n {
                for _ in 0..1 + r.below(5) {
                    blocks.push((k, Some(k + r.below(4) as u32), 1 + r.below(50 << 20)));
                }
            }
        },
    },
];
