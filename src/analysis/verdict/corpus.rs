//! The labelled series of `fixtures/series.toml`, each with the verdict that it must get.

use serde::Deserialize;

use super::synthetic::{Life, series};
use super::{Terms, judge};
use crate::model::verdict::{DEFAULT_HORIZON, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    site: Vec<Labelled>,
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
    /// One block that is born anew in each cycle, so many bytes longer.
    growing: Option<u64>,
    /// One block that is replaced by one of twice its size when so many bytes a cycle fill it.
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
    life: u32,
    until: Option<u32>,
    bytes: u64,
}

fn default_horizon() -> u32 {
    DEFAULT_HORIZON
}

fn one() -> u32 {
    1
}

impl Labelled {
    fn lives(&self) -> Vec<Life> {
        let mut lives = Vec::new();
        for b in &self.blocks {
            let births = (b.from..=b.to).step_by(b.every as usize);
            lives.extend(births.map(|k| {
                let dies = match (b.until, b.life) {
                    (Some(period), _) => Some((k + 1).next_multiple_of(period)),
                    (None, 0) => None,
                    (None, life) => Some(k + life),
                };
                (k, dies, b.bytes)
            }));
        }
        if let Some(step) = self.growing {
            lives.extend((1..=self.cycles).map(|k| (k, Some(k + 1), step * u64::from(k))));
        }
        if let Some(rate) = self.doubling {
            let mut born = 1;
            while born <= self.cycles {
                lives.push((born, Some(2 * born), 2 * rate * u64::from(born)));
                born *= 2;
            }
        }
        lives
    }
}

#[test]
fn every_labelled_series_gets_its_verdict() {
    let text = include_str!("../../../fixtures/series.toml");
    let corpus: Corpus = toml::from_str(text).expect("the corpus is well formed");
    for site in &corpus.site {
        let judged = judge(
            &series(site.cycles, &site.lives()),
            Terms::fixed(site.horizon),
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
    let harmless = corpus.site.iter().filter(|s| !s.verdict.is_growth());
    assert!(harmless.count() >= 15);
}
