//! Parts of the process that grow, in synthetic journals.

use super::*;
use crate::analysis::journal::Journal;
use crate::analysis::verdict::Criteria;
use crate::model::journal::Resident;
use crate::model::journal::{Boundary, CHeap, JemallocBytes};
use crate::model::journal::{Counts, Memory};
use crate::model::process::{Grows, Process};
use crate::model::verdict::Verdict;

const CYCLES: u32 = 90;
const HORIZON: u32 = 64;

/// The verdict on the process of a run in which nothing grows, changed by `change`. Its first argument
/// is the number of the cycle.
fn process_of(change: impl Fn(u64, &mut Counts)) -> Process {
    process(&journal_of(CYCLES, change), Criteria::fixed(HORIZON))
}

fn journal_of(cycles: u32, change: impl Fn(u64, &mut Counts)) -> Journal {
    Journal::made(cycles, |cycle| {
        let mut counts = Counts {
            cycle,
            live_bytes: 1 << 20,
            threads: 2,
            jemalloc: Some(JemallocBytes {
                allocated: 1 << 20,
                active: 2 << 20,
                metadata: 1 << 20,
                resident: 4 << 20,
                mapped: 8 << 20,
                retained: 0,
            }),
            memory: Some(Memory {
                resident: Resident {
                    total: 10 << 20,
                    anonymous: 3 << 20,
                    files: 2 << 20,
                    mapped: 20 << 20,
                    ..Resident::default()
                },
                c_heap: Some(CHeap::default()),
                chunks: 0,
                c_bytes: 0,
                descriptors: 5,
            }),
            ..Counts::default()
        };
        change(u64::from(cycle), &mut counts);
        Boundary {
            counts,
            census: Vec::new(),
        }
    })
}

fn memory(counts: &mut Counts) -> &mut Memory {
    counts.memory.as_mut().expect("there is one")
}

/// Sets the bytes that C code has allocated, which is also all that it took from the system.
fn c_code_holds(counts: &mut Counts, bytes: u64) {
    let c = memory(counts).c_heap.as_mut().expect("there is one");
    (c.in_use, c.system) = (bytes, bytes);
}

fn assert_warning_without_verdict(process: &Process) {
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::None, Verdict::WarmUp)
    );
    assert_eq!(process.doubts().count(), 1);
}

#[test]
fn nothing_grows_if_all_levels_are_constant() {
    let process = process_of(|_, _| ());
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::None, Verdict::WarmUp)
    );
    assert_eq!(process.parts.len(), 5);
    assert_eq!(process.doubts().count(), 0);
}

#[test]
fn growth_of_the_c_heap_is_a_leak_once_it_exceeds_the_thread_caches() {
    // By another amount in each cycle.
    let leak = |bytes: u64| {
        move |cycle: u64, counts: &mut Counts| {
            c_code_holds(
                counts,
                1_000 + bytes * cycle + cycle * cycle * 37 % 101 * 16,
            );
        }
    };
    // The caches of two threads may hold 473,088 bytes.
    let much = process_of(leak(6_000));
    assert_eq!((much.grows, much.verdict), (Grows::CHeap, Verdict::Leak));
    let rate = much.parts[2].per_cycle.expect("it is known");
    assert!((5_990.0..6_010.0).contains(&rate), "{rate}");
    let little = process_of(leak(5_000));
    assert_eq!(
        (little.grows, little.verdict),
        (Grows::CHeap, Verdict::Undecided)
    );
    let needed = little.parts[2]
        .evidence
        .more_cycles
        .expect("it can be told");
    assert!((5..=10).contains(&needed), "{needed}");
    assert!(
        little.sentence.contains("more cycles would tell"),
        "{}",
        little.sentence
    );
    assert_eq!(little.doubts().count(), 0, "the sentence says it already");
}

#[test]
fn growth_of_the_c_heap_by_the_same_amount_in_each_cycle_is_a_leak_behind_the_horizon() {
    for is_system in [false, true] {
        let small = |cycles: u32| {
            let journal = journal_of(cycles, |cycle, counts| {
                if is_system {
                    counts.jemalloc = None;
                }
                c_code_holds(counts, (8 << 20) + 2_048 * cycle);
            });
            process(&journal, Criteria::fixed(HORIZON))
        };
        let whole = small(CYCLES);
        assert_eq!((whole.grows, whole.verdict), (Grows::CHeap, Verdict::Leak));
        assert_eq!(whole.parts[2].per_cycle, Some(2_048.0));
        assert_eq!(small(60).verdict, Verdict::Growing);
    }
}

/// A run over the system's allocator in which Rust's blocks and C's are in one heap.
fn one_heap(change: impl Fn(u64, &mut Counts)) -> Process {
    process_of(|cycle, counts| {
        counts.jemalloc = None;
        counts.live_blocks = 1_000;
        memory(counts).chunks = 1 << 20;
        c_code_holds(counts, 2 << 20);
        change(cycle, counts);
    })
}

#[test]
fn a_small_block_of_c_code_in_each_cycle_is_seen_beside_those_of_rust() {
    let process = one_heap(|cycle, counts| c_code_holds(counts, (2 << 20) + 32 * cycle));
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::CHeap, Verdict::Leak)
    );
    assert_eq!(process.parts[2].per_cycle, Some(32.0));
}

#[test]
fn slack_of_blocks_that_rust_retains_is_no_growth_of_c_code() {
    let process = one_heap(|cycle, counts| {
        counts.live_blocks += cycle;
        memory(counts).chunks += 48 * cycle;
        c_code_holds(counts, (2 << 20) + (48 + 16) * cycle);
    });
    assert!(!process.verdict.is_growth(), "{}", process.sentence);
}

#[test]
fn slack_that_comes_and_goes_is_no_growth_of_c_code() {
    let process = one_heap(|cycle, counts| {
        c_code_holds(counts, (2 << 20) + cycle * 7 % 61 * 16);
    });
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::None, Verdict::WarmUp)
    );
}

#[test]
fn a_few_blocks_of_one_size_for_each_thread_may_be_cached() {
    // 32 blocks of 1,000 bytes, until the caches of two threads are full.
    let process = process_of(|cycle, counts| c_code_holds(counts, 1_000 * cycle.clamp(20, 52)));
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::None, Verdict::WarmUp)
    );
}

/// A C heap over the system's allocator that rises by another amount in one of `every` cycles.
fn grows_within_the_caches(every: u64) -> Process {
    process_of(|cycle, counts| {
        counts.jemalloc = None;
        let rises = cycle / every;
        c_code_holds(counts, (8 << 20) + 2_048 * (rises + 7 * rises % 5));
    })
}

#[test]
fn growth_within_the_thread_caches_of_the_systems_allocator_is_a_warning() {
    assert_warning_without_verdict(&grows_within_the_caches(2));
}

#[test]
fn growth_within_the_thread_caches_in_every_cycle_is_undecided() {
    let process = process_of(|cycle, counts| {
        counts.jemalloc = None;
        c_code_holds(
            counts,
            (8 << 20) + 4_096 * cycle + cycle * cycle * 37 % 101 * 16,
        );
    });
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::CHeap, Verdict::Undecided)
    );
}

#[test]
fn irregular_growth_of_the_c_heap_is_a_warning() {
    assert_warning_without_verdict(&process_of(|cycle, counts| {
        let steps = [0, 0, 0, 1, 2, 3];
        c_code_holds(counts, 1_000 * steps.get(cycle as usize / 15).unwrap_or(&4));
    }));
}

#[test]
fn growth_in_threads_explains_the_mappings_of_their_stacks() {
    let with_stacks = |cycle: u64, counts: &mut Counts| {
        counts.threads = 2 + cycle;
        memory(counts).resident.mapped += cycle * (2 << 20);
    };
    let process = process_of(with_stacks);
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::Threads, Verdict::Leak)
    );
    assert_eq!(process.parts[0].per_cycle, Some(1.0));
    assert!(process.parts.iter().all(|p| p.what != Grows::MappedMemory));
    let without_threads = process_of(|cycle, counts| {
        with_stacks(cycle, counts);
        counts.threads = 2;
    });
    assert_eq!(without_threads.grows, Grows::MappedMemory);
}

#[test]
fn unexplained_resident_memory_is_growth_unless_blocks_grow() {
    // The allocator counts 4 MiB as resident, of which 3 MiB are.
    let touched = |bytes: u64| {
        move |cycle: u64, counts: &mut Counts| {
            memory(counts).resident.anonymous += bytes * cycle;
        }
    };
    let much = process_of(touched(1 << 20));
    assert_eq!(
        (much.grows, much.verdict),
        (Grows::ResidentMemory, Verdict::Leak)
    );
    // Less than the allocator counts: it may be its own.
    let little = process_of(touched(8 << 10));
    assert_warning_without_verdict(&little);
    // Growing blocks explain it.
    let blocks = process_of(|cycle, counts| {
        touched(1 << 20)(cycle, counts);
        counts.live_bytes += cycle << 20;
    });
    assert_eq!((blocks.grows, blocks.doubts().count()), (Grows::None, 0));
}

#[test]
fn levels_that_are_not_known_are_not_judged() {
    let process = process_of(|_, counts| counts.memory = None);
    assert_eq!((process.grows, process.parts.len()), (Grows::None, 0));
}

#[test]
fn growth_is_found_if_the_allocator_has_more_than_is_counted_as_mapped() {
    // The kernel has merged a part of the allocator's memory with a file's mapping.
    let process = process_of(|cycle, counts| {
        memory(counts).resident.mapped = (3 << 20) + 4_096 * cycle;
    });
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::MappedMemory, Verdict::Leak)
    );
    let part = process.parts.iter().find(|p| p.what == process.grows);
    let part = part.expect("it was judged");
    assert_eq!(part.per_cycle, Some(4_096.0));
    assert!(part.series[0] <= 4_096, "{:?}", part.series);
}

#[test]
fn pages_of_a_library_that_are_touched_late_do_not_keep_a_run_from_ending() {
    let paged_in = |cycle: u64, counts: &mut Counts| {
        let pages = [0, 0, 0, 0, 1, 3, 8, 8, 8].get(cycle as usize);
        memory(counts).resident.files += 4_096 * pages.unwrap_or(&9);
    };
    let resident = |cycles: u32| {
        let judged = judge(&journal_of(cycles, paged_in), Criteria::fixed(HORIZON));
        let part = judged.into_iter().find(|p| p.what == Grows::ResidentMemory);
        part.expect("it is judged").judgement
    };
    for cycles in 12..40 {
        let judged = resident(cycles);
        assert!(judged.settled, "{cycles}: {:?}", judged.evidence);
        assert!(judged.verdict < Verdict::Undecided, "{cycles}");
    }
}

#[test]
fn a_second_step_of_the_c_heap_keeps_a_run_from_ending() {
    let settled = |steps: &'static [u64]| {
        let journal = journal_of(12, |cycle, counts| {
            let taken = steps.iter().filter(|&&at| at <= cycle).count() as u64;
            c_code_holds(counts, 20_000 * taken);
        });
        let judged = judge(&journal, Criteria::interim(9, HORIZON));
        let c_code = judged.into_iter().find(|p| p.what == Grows::CHeap);
        c_code.expect("it is judged").judgement.settled
    };
    assert!(settled(&[]) && settled(&[5]));
    assert!(!settled(&[5, 10]));
}

#[test]
fn descriptors_that_leak_until_none_are_left_are_a_leak() {
    let process = process_of(|cycle, counts| match cycle {
        0..80 => memory(counts).descriptors = 5 + cycle,
        _ => counts.memory = None,
    });
    assert_eq!(
        (process.grows, process.verdict),
        (Grows::FileDescriptors, Verdict::Leak)
    );
}

#[test]
fn growth_of_descriptors_says_which_files_are_open() {
    use crate::model::journal::Files;
    let mut journal = journal_of(CYCLES, |cycle, counts| {
        memory(counts).descriptors = 5 + cycle;
    });
    let of = |at_end, open: &[&str]| Files {
        at_end,
        open: open.iter().map(|&file| file.to_owned()).collect(),
        ..Files::default()
    };
    journal.files = vec![
        of(false, &["/dev/null", "socket:[17]"]),
        of(
            true,
            &[
                "/dev/null",
                "/proc/18/stat",
                "/proc/2/stat",
                "socket:[3]",
                "socket:[17]",
            ],
        ),
    ];
    let process = process(&journal, Criteria::fixed(HORIZON));
    assert_eq!(process.grows, Grows::FileDescriptors);
    let expected = "per cycle stay open: 2 of `/proc/N/stat`, 1 of `socket:[N]`; it rose";
    assert!(process.sentence.contains(expected), "{}", process.sentence);
}

#[test]
fn growth_of_mapped_memory_says_what_is_mapped() {
    use crate::model::journal::Files;
    let mut journal = journal_of(CYCLES, |cycle, counts| {
        memory(counts).resident.mapped = 5_000_000 + 8192 * cycle;
    });
    let of = |at_end, mapped: &[(&str, u64)]| Files {
        at_end,
        mapped: mapped
            .iter()
            .map(|&(name, bytes)| (name.to_owned(), bytes))
            .collect(),
        ..Files::default()
    };
    journal.files = vec![
        of(false, &[("", 65_536), ("/lib/libc.so.6", 4096)]),
        of(
            true,
            &[
                ("", 131_072),
                ("/dev/shm/ring-1", 81_920),
                ("/dev/shm/ring-22", 81_920),
                ("/lib/libc.so.6", 4096),
            ],
        ),
    ];
    let process = process(&journal, Criteria::fixed(HORIZON));
    assert_eq!(process.grows, Grows::MappedMemory);
    let expected = "not unmapped: 164 kB of `/dev/shm/ring-N`, 65.5 kB anonymous; it rose";
    assert!(process.sentence.contains(expected), "{}", process.sentence);
}
