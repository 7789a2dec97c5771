//! Series made of blocks with known lifetimes, for the bench and the tests of the classifier.

use super::call_site::judge;
use super::interim::{Criteria, is_interim, may_end};
use super::judgement::Judgement;
use super::model_sized::judge_model_sized;
use super::series::{Generation, Series};

/// A block at a call site: the cycle of its allocation, counted from 1 after the baseline; the
/// cycle at whose boundary it is freed, `None` if never; and its size in bytes.
pub type Block = (u32, Option<u32>, u64);

/// The series of a call site that allocates these blocks, after `n` cycles.
pub(crate) fn series(n: u32, blocks: &[Block]) -> Series {
    let mut made = Series {
        bytes: vec![0; n as usize],
        blocks: vec![0; n as usize],
        live_generations: vec![0; n as usize],
        ..Series::default()
    };
    let mut by_birth: Vec<Vec<Block>> = vec![Vec::new(); n as usize + 1];
    for &block in blocks {
        let (born, freed, _) = block;
        if (1..=n).contains(&born) && freed.is_none_or(|freed| freed > born) {
            by_birth[born as usize].push(block);
        }
    }
    for (born, blocks) in (1..).zip(&by_birth[1..]) {
        let last_seen = |&(_, freed, _): &Block| freed.map_or(n, |freed| (freed - 1).min(n));
        let Some(end) = blocks.iter().map(last_seen).max() else {
            continue;
        };
        for block in blocks {
            for k in born as usize..=last_seen(block) as usize {
                made.bytes[k - 1] += block.2;
                made.blocks[k - 1] += 1;
            }
        }
        for live in &mut made.live_generations[born as usize - 1..end as usize] {
            *live += 1;
        }
        let left = || blocks.iter().filter(|&b| last_seen(b) == end);
        made.generations.push(Generation {
            born,
            freed: (end < n).then_some(end + 1),
            bytes: left().map(|b| b.2).sum(),
            blocks: left().count() as u64,
        });
    }
    made
}

/// Judges the call site as a run of `n` cycles does.
pub(crate) fn judged(n: u32, blocks: &[Block], horizon: u32) -> Judgement {
    judge(&series(n, blocks), Criteria::fixed(horizon))
}

/// Judges the call site as a run does that ends by itself after at most `max` cycles: the cycle
/// after the warm-up at which it ends, and the judgement there. The blocks are allocated while a
/// model is loaded; `loaded_bytes` are live in each cycle before the drop, including these blocks.
pub(crate) fn judged_until_settled(
    max: u32,
    blocks: &[Block],
    horizon: u32,
    loaded_bytes: u64,
) -> (u32, Judgement) {
    let analyses = (1..=max).filter(|&n| is_interim(n, horizon) || n == max);
    let mut last = None;
    for n in analyses {
        let series = Series {
            from_load: true,
            ..series(n, blocks)
        };
        let mut judged = [judge(&series, Criteria::interim(n, horizon))];
        judge_model_sized(&mut judged, loaded_bytes);
        let ends = may_end(n, judged.iter());
        let [judgement] = judged;
        last = Some((n, judgement));
        if ends {
            break;
        }
    }
    last.unwrap_or_else(|| (0, judged(0, blocks, horizon)))
}
