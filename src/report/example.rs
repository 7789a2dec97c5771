//! A report for the tests of the formats: one call site that leaks, and one that is a cache.

use crate::model::end::{Ended, How};
use crate::model::frame::{Frame, Owner};
use crate::model::peak::{CrateShare, Peak, PeakCallSite};
use crate::model::process::{Grows, Process};
use crate::model::profile::Profile;
use crate::model::report::{
    Attribution, Boundary, CallSite, Cost, Report, RunVerdict, SCHEMA, Witness,
};
use crate::model::run::Phase;
use crate::model::verdict::{Evidence, RisesBy, Rule, Verdict};

/// 80 cycles after a warm-up of 3, each of which retains a model of 1 MiB.
pub(super) fn report() -> Report {
    let leak = leak();
    let cache = CallSite {
        verdict: Verdict::Cache,
        function: "tokenizer::cached".into(),
        file: None,
        line: None,
        bytes_per_cycle: Some(0.0),
        retained_bytes: 812,
        phase: Phase::Infer,
        ..leak.clone()
    };
    Report {
        schema: SCHEMA.into(),
        version: "0.1.0".into(),
        workload: "mine".into(),
        options: vec!["device=ndarray".into()],
        exec: false,
        live: None,
        heap: crate::model::run::HeapKind::Dhat,
        strategy: crate::model::run::Strategy::Fresh,
        cycles: 83,
        auto: false,
        warmup: 3,
        horizon: 64,
        ended: Ended::new(How::Completed, None),
        verdict: RunVerdict::Leak,
        summary: "1 call site leaks, seen over 80 cycles after a warm-up of 3".into(),
        bytes_per_cycle: Some(1_048_576.0),
        call_sites: vec![leak, cache],
        boundaries: (1..=8).map(boundary).collect(),
        peak: Some(peak()),
        crates: crates(),
        objects: Vec::new(),
        process: Process {
            grows: Grows::None,
            verdict: Verdict::WarmUp,
            sentence: "nothing else grows".into(),
            parts: Vec::new(),
            purged_bytes: None,
            new_threads: Vec::new(),
        },
        roots: Vec::new(),
        holder_search: None,
        sampling: None,
        attribution: Attribution {
            live_bytes: 87_000_000,
            setup_bytes: 1000,
            call_site_bytes: 86_999_000,
            ..Attribution::default()
        },
        cost: Cost {
            hook_seconds: Some(0.01),
            cycle_seconds: 0.83,
            ledger_bytes: 262_144,
        },
        witness: Some(Witness {
            agrees: true,
            stacks: 2,
            ledger_bytes: 5,
            dhat_bytes: 5,
            ledger_blocks: 1,
            dhat_blocks: 1,
            differences: Vec::new(),
        }),
        profile: Profile::default(),
        bins: Vec::new(),
        warnings: vec!["a note".into()],
    }
}

fn peak() -> Peak {
    let site = |function: &str, phase, bytes| PeakCallSite {
        function: function.into(),
        file: Some("app/reload.rs".into()),
        line: Some(42),
        phase,
        bytes,
        blocks: 1,
        frames: vec![frame(function, "app/reload.rs", 42)],
    };
    Peak {
        cycle: 83,
        phase: Phase::Infer,
        live_bytes: 88_000_000,
        setup_bytes: 1000,
        other_bytes: 1000,
        call_sites: vec![
            site("serving::reload", Phase::Load, 66_000_000),
            site("serving::predict", Phase::Infer, 21_998_000),
        ],
    }
}

fn crates() -> Vec<CrateShare> {
    let share = |name: &str, retained_bytes, peak_bytes| CrateShare {
        name: name.into(),
        retained_bytes,
        retained_blocks: 1,
        peak_bytes,
        peak_blocks: 1,
    };
    vec![
        share("burn-store-0.22.1", 86_999_000, 66_000_000),
        share("own code", 0, 21_998_000),
    ]
}

fn leak() -> CallSite {
    CallSite {
        verdict: Verdict::Leak,
        reason: "80 generations survive to the end, one from every cycle".into(),
        function: "serving::reload".into(),
        file: Some("app/reload.rs".into()),
        line: Some(42),
        phase: Phase::Load,
        bytes_per_cycle: Some(1_048_576.0),
        bytes_per_cycle_interval: Some((1_048_576.0, 1_048_576.0)),
        blocks_per_cycle: Some(1.0),
        retained_bytes: 83 * 1_048_576,
        retained_bytes_interval: None,
        retained_blocks: 83,
        generations: 83,
        series: Vec::new(),
        lives: Vec::new(),
        source: None,
        evidence: Evidence {
            rule: Rule::Horizon,
            rises_by: RisesBy::Generations,
            rises: (1..=80).collect(),
            span: 76,
            longest_gap: 1,
            quiet: 0,
            quiet_needed: 80,
            longest_life: 0,
            chance: 1e-9,
            significance: 0.01,
            analyses: 0,
            more_cycles: None,
        },
        other_stacks: Vec::new(),
        stacks: 3,
        stack: vec![
            frame("alloc::alloc::alloc", "alloc/src/alloc.rs", 95),
            frame("burn_store::apply", "burn-store-0.22.1/src/traits.rs", 146),
            frame("serving::reload", "app/reload.rs", 42),
            frame("serving::\u{1b}[31mmain", "app/main.rs", 7),
        ],
        stack_cut: false,
        holder: None,
        holder_unknown: None,
        objects: Vec::new(),
        pool: None,
        allowed: None,
        fingerprint: "0".into(),
    }
}

fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: function.into(),
        file: Some(file.into()),
        line: Some(line),
        owner: match file.split('/').next() {
            Some("alloc") => Owner::Standard,
            Some("app") => Owner::Own,
            _ => Owner::Dependency,
        },
    }
}

fn boundary(cycle: u32) -> Boundary {
    Boundary {
        cycle,
        live_bytes: 1_048_576 * u64::from(cycle),
        live_blocks: u64::from(cycle),
        peak_bytes: 1_048_576 * u64::from(cycle) + 500,
        resident_bytes: Some(9_000_000),
        peak_resident_bytes: Some(9_500_000),
        allocations: 10,
        allocated_bytes: 100,
        loaded_bytes: 50,
        load_peak_bytes: 60,
        threads: 1,
        quiet: true,
        seconds: 0.01,
        jemalloc: None,
        balance: None,
    }
}
