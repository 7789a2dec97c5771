//! The planted cases of `fixtures/leaks/`: leaks, caches and churn with a known result.

use super::case::Planted;
use super::entry::Entry;

#[path = "../../fixtures/leaks/arc_to_itself.rs"]
mod arc_to_itself;
#[path = "../../fixtures/leaks/backlog.rs"]
mod backlog;
#[path = "../../fixtures/leaks/box_leak.rs"]
mod box_leak;
#[path = "../../fixtures/leaks/burst_lru.rs"]
mod burst_lru;
#[path = "../../fixtures/leaks/c_malloc.rs"]
mod c_malloc;
#[path = "../../fixtures/leaks/cache_of_forty.rs"]
mod cache_of_forty;
#[path = "../../fixtures/leaks/connection_pool.rs"]
mod connection_pool;
#[path = "../../fixtures/leaks/descriptor_leak.rs"]
mod descriptor_leak;
#[path = "../../fixtures/leaks/drip_under_churn.rs"]
mod drip_under_churn;
#[path = "../../fixtures/leaks/drop_hook.rs"]
mod drop_hook;
#[path = "../../fixtures/leaks/error_path.rs"]
mod error_path;
#[path = "../../fixtures/leaks/every_tenth.rs"]
mod every_tenth;
#[path = "../../fixtures/leaks/every_third.rs"]
mod every_third;
#[path = "../../fixtures/leaks/fifty_stacks.rs"]
mod fifty_stacks;
#[path = "../../fixtures/leaks/forget.rs"]
mod forget;
#[path = "../../fixtures/leaks/fragmentation.rs"]
mod fragmentation;
#[path = "../../fixtures/leaks/hash_map.rs"]
mod hash_map;
#[path = "../../fixtures/leaks/hidden_by_shrinking.rs"]
mod hidden_by_shrinking;
#[path = "../../fixtures/leaks/hungry.rs"]
mod hungry;
#[path = "../../fixtures/leaks/interner.rs"]
mod interner;
#[path = "../../fixtures/leaks/late_frees.rs"]
mod late_frees;
#[path = "../../fixtures/leaks/lazy_cache.rs"]
mod lazy_cache;
#[path = "../../fixtures/leaks/lazy_pool.rs"]
mod lazy_pool;
#[path = "../../fixtures/leaks/lru.rs"]
mod lru;
#[path = "../../fixtures/leaks/metrics_closure.rs"]
mod metrics_closure;
#[path = "../../fixtures/leaks/mmap_leak.rs"]
mod mmap_leak;
#[path = "../../fixtures/leaks/one_time.rs"]
mod one_time;
#[path = "../../fixtures/leaks/prediction_log.rs"]
mod prediction_log;
#[path = "../../fixtures/leaks/program_break.rs"]
mod program_break;
#[path = "../../fixtures/leaks/random_keys.rs"]
mod random_keys;
#[path = "../../fixtures/leaks/random_noise.rs"]
mod random_noise;
#[path = "../../fixtures/leaks/rayon_worker.rs"]
mod rayon_worker;
#[path = "../../fixtures/leaks/rc_cycle.rs"]
mod rc_cycle;
#[path = "../../fixtures/leaks/realloc_growth.rs"]
mod realloc_growth;
#[path = "../../fixtures/leaks/registry.rs"]
mod registry;
#[path = "../../fixtures/leaks/replaced_buffer.rs"]
mod replaced_buffer;
#[path = "../../fixtures/leaks/results_lru.rs"]
mod results_lru;
#[path = "../../fixtures/leaks/sawtooth.rs"]
mod sawtooth;
#[path = "../../fixtures/leaks/shared_map.rs"]
mod shared_map;
#[path = "../../fixtures/leaks/starts_late.rs"]
mod starts_late;
#[path = "../../fixtures/leaks/stops.rs"]
mod stops;
#[path = "../../fixtures/leaks/sweep.rs"]
mod sweep;
#[path = "../../fixtures/leaks/sweep_hundredth.rs"]
mod sweep_hundredth;
#[path = "../../fixtures/leaks/thread_leak.rs"]
mod thread_leak;
#[path = "../../fixtures/leaks/thread_scratch.rs"]
mod thread_scratch;
#[path = "../../fixtures/leaks/two_at_one_line.rs"]
mod two_at_one_line;
#[path = "../../fixtures/leaks/vec_bounded.rs"]
mod vec_bounded;
#[path = "../../fixtures/leaks/vec_doubling.rs"]
mod vec_doubling;

macro_rules! cases {
    ($($name:ident)*) => {
        &[$(Planted {
            name: stringify!($name),
            case: &$name::CASE,
            text: include_str!(concat!("../../fixtures/leaks/", stringify!($name), ".rs")),
        }),*]
    };
}

/// All cases, leaks first.
const CASES: &[Planted] = cases![
    registry
    forget
    rc_cycle
    arc_to_itself
    box_leak
    prediction_log
    thread_scratch
    interner
    error_path
    every_third
    realloc_growth
    rayon_worker
    metrics_closure
    drop_hook
    every_tenth
    drip_under_churn
    starts_late
    two_at_one_line
    fifty_stacks
    hidden_by_shrinking
    vec_doubling
    c_malloc
    mmap_leak
    shared_map
    program_break
    thread_leak
    descriptor_leak
    lru
    lazy_cache
    replaced_buffer
    one_time
    sweep
    cache_of_forty
    burst_lru
    random_keys
    results_lru
    vec_bounded
    hash_map
    stops
    lazy_pool
    connection_pool
    sweep_hundredth
    sawtooth
    backlog
    late_frees
    random_noise
    fragmentation
    hungry
];

pub(super) fn entries() -> Vec<Entry> {
    let entries = CASES.iter().map(|case| case.entry("planted", "leaks"));
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::case::{MARKER, Verdict, marked_line};

    #[test]
    fn every_case_marks_its_line_and_describes_itself() {
        for Planted { name, case, text } in CASES {
            let has_line = case.verdict != Verdict::WarmUp || text.contains(MARKER);
            assert_eq!(marked_line(text, MARKER).is_some(), has_line, "{name}");
            assert!(!case.about.is_empty(), "{name}");
            let leaks = case.verdict.is_growth();
            assert_eq!(case.bytes_per_cycle > 0.0, leaks, "{name}");
        }
    }

    #[test]
    fn every_file_in_the_folder_is_a_case() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/leaks");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().to_string_lossy().replace(".rs", ""))
            .collect();
        let mut names: Vec<&str> = CASES.iter().map(|c| c.name).collect();
        files.sort_unstable();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
