//! Series made up of blocks with known lives, for the bench and the tests of the classifier.

use super::interim::is_interim;
use super::{Generation, Judgement, Series, Terms, judge, judge_together, may_end};

/// A block at a call site: the cycle it is born in, counted from 1 after the baseline; the cycle at
/// whose boundary it is gone, `None` if never; and its bytes.
pub type Life = (u32, Option<u32>, u64);

/// The series of a call site after `n` cycles, if it sees these blocks.
pub(crate) fn series(n: u32, lives: &[Life]) -> Series {
    // Of each birth cycle, how the sums change: bytes and blocks that go at a boundary.
    let mut made = Series {
        bytes: vec![0; n as usize],
        blocks: vec![0; n as usize],
        living: vec![0; n as usize],
        ..Series::default()
    };
    let mut by_birth: Vec<Vec<Life>> = vec![Vec::new(); n as usize + 1];
    for &life in lives {
        let (born, dies, _) = life;
        if (1..=n).contains(&born) && dies.is_none_or(|d| d > born) {
            by_birth[born as usize].push(life);
        }
    }
    for (born, blocks) in (1..).zip(&by_birth[1..]) {
        let last = |&(_, dies, _): &Life| dies.map_or(n, |d| (d - 1).min(n));
        let Some(end) = blocks.iter().map(last).max() else {
            continue;
        };
        for &(_, dies, bytes) in blocks {
            let until = dies.map_or(n, |d| (d - 1).min(n)) as usize;
            for k in born as usize..=until {
                made.bytes[k - 1] += bytes;
                made.blocks[k - 1] += 1;
            }
        }
        for living in &mut made.living[born as usize - 1..end as usize] {
            *living += 1;
        }
        let left = || blocks.iter().filter(|&b| last(b) == end);
        made.generations.push(Generation {
            born,
            died: (end < n).then_some(end + 1),
            bytes: left().map(|b| b.2).sum(),
            blocks: left().count() as u64,
        });
    }
    made
}

/// Judges the call site as a run of `n` cycles does.
pub(crate) fn judged(n: u32, lives: &[Life], horizon: u32) -> Judgement {
    judge(&series(n, lives), Terms::fixed(horizon))
}

/// Judges the call site as a run does that ends by itself: the cycle after the warm-up at which it
/// ends, at most `most`, and the judgement there. The blocks are born while a model is loaded, of
/// which `loaded_bytes` are live in each cycle before the drop, these among them.
pub(crate) fn judged_until_settled(
    most: u32,
    lives: &[Life],
    horizon: u32,
    loaded_bytes: u64,
) -> (u32, Judgement) {
    let looks = (1..=most).filter(|&n| is_interim(n, horizon) || n == most);
    let mut last = None;
    for n in looks {
        let series = Series {
            from_load: true,
            ..series(n, lives)
        };
        let mut judged = [judge(&series, Terms::at(n, horizon))];
        judge_together(&mut judged, loaded_bytes);
        let ends = may_end(n, judged.iter());
        let [judgement] = judged;
        last = Some((n, judgement));
        if ends {
            break;
        }
    }
    last.unwrap_or_else(|| (0, judged(0, lives, horizon)))
}
