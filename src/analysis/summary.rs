//! The verdict on a run in one sentence.

use crate::base::text::count;
use crate::base::units::exact;
use crate::model::process::Process;
use crate::model::report::{CallSite, RunVerdict};
use crate::model::verdict::{FEWEST_CYCLES, Rule, Verdict};

/// What a summary is made from.
pub(super) struct Summary<'a> {
    pub(super) run: RunVerdict,
    pub(super) call_sites: &'a [CallSite],
    pub(super) process: &'a Process,
    /// Cycles that ran after the warm-up.
    pub(super) after_warmup: u32,
    pub(super) warmup: u32,
    /// Later boundaries could not be read.
    pub(super) has_gap: bool,
    /// Objects of Python's are not recorded.
    pub(super) lacks_objects: bool,
    /// The growth of all new call sites together, in bytes per cycle; 0 if it is not known.
    pub(super) rate: f64,
}

impl Summary<'_> {
    pub(super) fn sentence(&self) -> String {
        let cycles = self.cycles();
        match self.run {
            RunVerdict::Leak => {
                let n = self.count(Verdict::Leak);
                let verb = if n == 1 { "leaks" } else { "leak" };
                let leaks = (n > 0).then(|| format!("{} {verb}", call_sites(n)));
                let leaks = self.with_process(leaks, Verdict::Leak);
                format!("{leaks}, seen over {cycles}{}", magnitude(self.rate))
            }
            RunVerdict::Growing => {
                let n = self.count(Verdict::Growing);
                let growth = (n > 0).then(|| format!("memory grows at {}", call_sites(n)));
                let growth = self.with_process(growth, Verdict::Growing);
                let growing = self.unallowed().filter(|s| s.verdict == Verdict::Growing);
                let mut rules = growing.map(|s| s.evidence.rule);
                match n > 0 && rules.all(|rule| rule == Rule::Slower) {
                    true => format!("{growth}, but ever more slowly, seen over {cycles}"),
                    false => format!("{growth}, but {cycles} do not reach the horizon"),
                }
            }
            RunVerdict::Undecided => self.undecided(),
            RunVerdict::Clean if self.unallowed().count() < self.call_sites.len() => {
                format!("nothing grows except what is allowed, seen over {cycles}")
            }
            RunVerdict::Clean => format!("nothing grows, seen over {cycles}"),
        }
    }

    fn undecided(&self) -> String {
        let cycles = self.cycles();
        let n = self.count(Verdict::Undecided);
        let sites = (n > 0).then(|| call_sites(n));
        let process = self.process_with(Verdict::Undecided);
        let process = process.map(|growth| format!("the {growth}"));
        match (sites, process) {
            (Some(sites), Some(process)) => {
                format!("{sites} and {process} are undecided, seen over {cycles}")
            }
            (Some(sites), None) => {
                let verb = if n == 1 { "is" } else { "are" };
                format!("{sites} {verb} undecided, seen over {cycles}")
            }
            (None, Some(process)) => format!("{process} is undecided, seen over {cycles}"),
            (None, None) if self.after_warmup >= FEWEST_CYCLES => {
                let but = match (self.has_gap, self.lacks_objects) {
                    (true, _) => "what the journal has of later cycles could not be read",
                    (false, true) => "Python's small objects were not recorded",
                    (false, false) => "the run did not complete",
                };
                format!("nothing grew in {cycles}, but {but}")
            }
            (None, None) if self.has_gap => {
                format!(
                    "{cycles} are too few for a verdict; the journal has no more that can be read"
                )
            }
            (None, None) => {
                format!("{cycles} are too few for a verdict; at least {FEWEST_CYCLES} are needed")
            }
        }
    }

    /// `68 cycles after a warm-up of 3`.
    fn cycles(&self) -> String {
        let cycles = count(self.after_warmup, "cycle");
        format!("{cycles} after a warm-up of {}", self.warmup)
    }

    /// The call sites that are not allowed.
    fn unallowed(&self) -> impl Iterator<Item = &CallSite> {
        self.call_sites.iter().filter(|s| s.allowed.is_none())
    }

    /// The number of new call sites with this verdict.
    fn count(&self, verdict: Verdict) -> u32 {
        self.unallowed().filter(|s| s.verdict == verdict).count() as u32
    }

    /// What grows in the process, if that has this verdict.
    fn process_with(&self, verdict: Verdict) -> Option<&'static str> {
        (self.process.verdict == verdict).then_some(self.process.grows.name())
    }

    /// The clause on call sites, joined with that on the process. The process comes first: the
    /// blocks of a thread that does not exit show at call sites, too.
    fn with_process(&self, sites: Option<String>, verdict: Verdict) -> String {
        match (sites, self.process_with(verdict)) {
            (Some(sites), Some(process)) => format!("there is {process}, and {sites}"),
            (Some(sites), None) => sites,
            (None, Some(process)) => process.to_owned(),
            (None, None) => "nothing grows".to_owned(),
        }
    }
}

/// When a small leak will have taken a gigabyte.
fn magnitude(rate: f64) -> String {
    const GIGABYTE: f64 = 1e9;
    const MIN_CYCLES: f64 = 10_000.0;
    let cycles = GIGABYTE / rate;
    if !cycles.is_finite() || cycles < MIN_CYCLES {
        return String::new();
    }
    // Two digits are as much as the rate is good for.
    let unit = 10_f64.powf(cycles.log10().floor() - 1.0);
    let cycles = (cycles / unit).round() * unit;
    format!("; 1 GB in some {} cycles", exact(cycles as u64))
}

fn call_sites(n: u32) -> String {
    count(n, "call site")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_leak_says_when_it_has_taken_a_gigabyte() {
        assert_eq!(magnitude(4096.0), "; 1 GB in some 240,000 cycles");
        assert_eq!(magnitude(30.0), "; 1 GB in some 33,000,000 cycles");
        assert_eq!(magnitude(1e6), "", "it is large enough to be seen");
        assert_eq!(magnitude(0.0), "");
    }
}
