//! The labelled series of `fixtures/series.toml` and the verdict that each must get.

use serde::Deserialize;

use super::super::call_site::judge;
use super::super::interim::Criteria;
use super::super::synthetic::{Block, series};
use crate::model::verdict::{DEFAULT_HORIZON, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    call_site: Vec<Labelled>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labelled {
    name: String,
    cycles: u32,
    #[serde(default = "default_horizon")]
    horizon: u32,
    verdict: Verdict,
    bytes_per_cycle: Option<f64>,
    blocks: Vec<Blocks>,
    /// One block that each cycle replaces by one that is this many bytes larger.
    growing: Option<u64>,
    /// A container that gains this many bytes per cycle and doubles when it is full.
    doubling: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    from: u32,
    to: u32,
    #[serde(default = "one")]
    every: u32,
    #[serde(default)]
    lifetime: u32,
    swept_every: Option<u32>,
    bytes: u64,
}

fn default_horizon() -> u32 {
    DEFAULT_HORIZON
}

fn one() -> u32 {
    1
}

impl Labelled {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for b in &self.blocks {
            let births = (b.from..=b.to).step_by(b.every as usize);
            blocks.extend(births.map(|k| {
                let freed = match (b.swept_every, b.lifetime) {
                    (Some(period), _) => Some((k + 1).next_multiple_of(period)),
                    (None, 0) => None,
                    (None, lifetime) => Some(k + lifetime),
                };
                (k, freed, b.bytes)
            }));
        }
        if let Some(step) = self.growing {
            blocks.extend((1..=self.cycles).map(|k| (k, Some(k + 1), step * u64::from(k))));
        }
        if let Some(rate) = self.doubling {
            let mut born = 1;
            while born <= self.cycles {
                blocks.push((born, Some(2 * born), 2 * rate * u64::from(born)));
                born *= 2;
            }
        }
        blocks
    }
}

#[test]
fn every_labelled_series_gets_its_verdict() {
    let text = include_str!("../../../../fixtures/series.toml");
    let corpus: Corpus = toml::from_str(text).expect("the corpus is well formed");
    for site in &corpus.call_site {
        let judged = judge(
            &series(site.cycles, &site.blocks()),
            Criteria::fixed(site.horizon),
        );
        assert_eq!(
            judged.verdict, site.verdict,
            "{}: {}",
            site.name, judged.reason
        );
        if let Some(rate) = site.bytes_per_cycle {
            let found = judged.bytes_per_cycle.map(|s| s.value);
            assert_eq!(found, Some(rate), "{}", site.name);
        }
    }
    let harmless = corpus.call_site.iter().filter(|s| !s.verdict.is_growth());
    assert!(harmless.count() >= 15);
}
