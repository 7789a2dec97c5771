//! Every text of a report, in whatever field it is: paths replaced, or made safe to print. It is done
//! in place, because a report may take much memory.

use super::paths;
use crate::base::files;
use crate::model::end::{Ended, How};
use crate::model::frame::{Frame, Owner};
use crate::model::holder::{Holder, HolderSearch, PathBlock, Root};
use crate::model::holders::HolderKind;
use crate::model::journal::JemallocBytes;
use crate::model::objects::ObjectGrowth;
use crate::model::peak::{CrateShare, Peak, PeakCallSite};
use crate::model::process::{Balance, Grows, Part, Process};
use crate::model::profile::{Bin, Born, Excerpt, Generation, Mapping, Profile, ProfileStack};
use crate::model::report::{
    Attribution, Boundary, CallSite, Cost, LiveWindows, OtherStack, Report, RunVerdict, Witness,
};
use crate::model::run::{HeapKind, Phase, Strategy};
use crate::model::sampling::Sampling;
use crate::model::verdict::{Evidence, RisesBy, Rule, Verdict};

#[cfg(any(feature = "cli", feature = "formats"))]
use crate::base::text::{is_hidden, printable, tail};
#[cfg(feature = "formats")]
use std::borrow::Cow;

/// Characters of a text that other formats than JSON show: of a longer text its end.
#[cfg(any(feature = "cli", feature = "formats"))]
const LONGEST: usize = 4000;

impl Report {
    /// The report with `~` for the user's home folder in every text.
    pub(crate) fn without_home(self) -> Self {
        match files::home_folder() {
            Some(home) => self.with_path(&home, "~"),
            None => self,
        }
    }

    /// The report with the path `to` for the path `from`, and for what is below it, in every text.
    pub(crate) fn with_path(mut self, from: &str, to: &str) -> Self {
        self.change(&mut |text| {
            if text.contains(from) {
                *text = paths::replaced(text, from, to);
            }
        });
        self
    }

    /// The report without characters that are not seen, and with no text longer than 4,000
    /// characters.
    #[cfg(feature = "formats")]
    pub(super) fn cleaned(&self) -> Cow<'_, Self> {
        let mut is_clean = true;
        self.each(&mut |text| is_clean &= !is_unclean(text));
        match is_clean {
            true => Cow::Borrowed(self),
            false => Cow::Owned(self.clone().into_cleaned()),
        }
    }

    /// The same for a report that is needed in no other form.
    #[cfg(any(feature = "cli", feature = "formats"))]
    pub(crate) fn into_cleaned(mut self) -> Self {
        self.change(&mut |text| {
            if is_unclean(text) {
                *text = printable(&tail(text, LONGEST));
            }
        });
        self
    }
}

#[cfg(any(feature = "cli", feature = "formats"))]
fn is_unclean(text: &str) -> bool {
    text.len() > LONGEST && text.chars().nth(LONGEST).is_some() || text.contains(is_hidden)
}

/// What has texts.
trait Texts {
    /// Passes every text to `see`.
    #[cfg_attr(
        not(feature = "formats"),
        allow(dead_code, reason = "only formats and tests look without a change")
    )]
    fn each(&self, see: &mut dyn FnMut(&str));

    /// Passes every text to `change`.
    fn change(&mut self, change: &mut dyn FnMut(&mut String));
}

impl Texts for String {
    fn each(&self, see: &mut dyn FnMut(&str)) {
        see(self);
    }

    fn change(&mut self, change: &mut dyn FnMut(&mut String)) {
        change(self);
    }
}

impl<T: Texts> Texts for Option<T> {
    fn each(&self, see: &mut dyn FnMut(&str)) {
        if let Some(value) = self {
            value.each(see);
        }
    }

    fn change(&mut self, change: &mut dyn FnMut(&mut String)) {
        if let Some(value) = self {
            value.change(change);
        }
    }
}

impl<T: Texts> Texts for Vec<T> {
    fn each(&self, see: &mut dyn FnMut(&str)) {
        for value in self {
            value.each(see);
        }
    }

    fn change(&mut self, change: &mut dyn FnMut(&mut String)) {
        for value in self {
            value.change(change);
        }
    }
}

/// Types without texts. What is `Copy` cannot have one.
macro_rules! without_texts {
    ($($of:ty),* $(,)?) => {$(
        impl Texts for $of where $of: Copy {
            fn each(&self, _: &mut dyn FnMut(&str)) {}
            fn change(&mut self, _: &mut dyn FnMut(&mut String)) {}
        }
    )*};
}

/// Structures with all of their fields: one that is missing does not compile.
macro_rules! texts {
    ($($of:ident { $($field:ident),* $(,)? })*) => {$(
        impl Texts for $of {
            fn each(&self, see: &mut dyn FnMut(&str)) {
                let Self { $($field),* } = self;
                $($field.each(see);)*
            }

            fn change(&mut self, change: &mut dyn FnMut(&mut String)) {
                let Self { $($field),* } = self;
                $($field.change(change);)*
            }
        }
    )*};
}

without_texts! {
    bool, f64, i64, u32, u64, (f64, f64), (u32, u64), (u64, u32), (u64, u64),
    Balance, Born, Grows, HeapKind, HolderKind, How, JemallocBytes, LiveWindows, Owner, Phase, RisesBy, Rule,
    RunVerdict, Sampling, Strategy, Verdict,
}

texts! {
    Report {
        schema, version, workload, options, exec, live, heap, strategy, cycles, auto, warmup, horizon, ended,
        verdict, summary, bytes_per_cycle, call_sites, boundaries, peak, crates, objects, process, roots,
        holder_search, sampling, attribution, cost, witness, profile, bins, warnings,
    }
    Ended { how, detail }
    CallSite {
        verdict, reason, function, file, line, phase, bytes_per_cycle, bytes_per_cycle_interval,
        blocks_per_cycle, retained_bytes, retained_bytes_interval, retained_blocks, generations,
        series, lives, source, evidence, stacks, stack, stack_cut, other_stacks, holder,
        holder_unknown, objects, pool, allowed, fingerprint,
    }
    Generation { cycle, live }
    Excerpt { first_line, lines }
    Evidence {
        rule, rises_by, rises, span, longest_gap, quiet, quiet_needed, longest_life, chance,
        significance, analyses, more_cycles,
    }
    Frame { function, file, line, owner }
    OtherStack { retained_bytes, frames }
    Holder {
        kind, name, file, line, thread, blocks, of_blocks, share, generations, lost_blocks,
        searched_all, cycle_blocks, path, path_blocks,
    }
    PathBlock { what, via, function, file, line, bytes }
    Boundary {
        cycle, live_bytes, live_blocks, peak_bytes, resident_bytes, peak_resident_bytes,
        allocations, allocated_bytes, loaded_bytes, load_peak_bytes, threads, quiet, seconds,
        jemalloc, balance,
    }
    Peak { cycle, phase, live_bytes, setup_bytes, other_bytes, call_sites }
    PeakCallSite { function, file, line, phase, bytes, blocks, frames }
    CrateShare { name, retained_bytes, retained_blocks, peak_bytes, peak_blocks }
    ObjectGrowth { type_name, per_cycle, retained, generations }
    Process { grows, verdict, sentence, parts, purged_bytes, new_threads }
    Part { what, verdict, reason, evidence, per_cycle, series }
    Root {
        kind, name, file, line, thread, retained_bytes, retained_blocks, reached_bytes,
        reached_blocks,
    }
    HolderSearch { failure, pause_seconds, seconds, searched_bytes, own_bytes, missed_threads }
    Attribution {
        live_bytes, setup_bytes, call_site_bytes, unattributed_bytes, cut_stacks,
        allocator_difference, unseen_calls, unknown_frees, refused,
    }
    Cost { hook_seconds, cycle_seconds, ledger_bytes }
    Witness {
        agrees, stacks, ledger_bytes, dhat_bytes, ledger_blocks, dhat_blocks, differences,
    }
    Profile { frames, stacks, mappings }
    ProfileStack { site, frames, calls, live }
    Mapping { start, end, offset, path }
    Bin { size, slots_per_slab, slots_in_use, slabs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn every_string_is_changed() {
        let mut report = example::report();
        report.change(&mut |text| text.push('%'));
        let json = report.to_json();
        let mut strings = 0;
        report.each(&mut |text| {
            assert!(text.ends_with('%'), "{text}");
            strings += 1;
        });
        // Names of verdicts, phases and the like are strings only in JSON.
        assert_eq!(json.matches('%').count(), strings);
        assert!(strings > 20, "{strings}");
    }
}
