//! What was live at the peak.

use std::hint::black_box;

use afterdrop::report::Peak;
use afterdrop::{Check, Cycle, Phase};

use crate::common::marked;

fn peak_of(name: &str, mut cycle: impl FnMut(&mut Cycle<'_>)) -> Peak {
    let report = Check::new(name)
        .cycles(12)
        .run_report(|c: &mut Cycle<'_>| cycle(c))
        .unwrap();
    let peak = report.peak.clone().expect("the cycles add bytes");
    let in_sites: u64 = peak.call_sites.iter().map(|site| site.bytes).sum();
    assert_eq!(
        peak.live_bytes,
        peak.setup_bytes + peak.other_bytes + in_sites
    );
    let highest = report.boundaries.iter().map(|b| b.peak_bytes).max();
    let added = highest.unwrap() - peak.setup_bytes;
    assert!(in_sites + peak.other_bytes >= added * 10 / 11 - 8192);
    peak
}

/// The line of this file behind a mark.
fn line(mark: &str) -> String {
    marked("tests/check/peak.rs", include_str!("peak.rs"), mark)
}

#[test]
fn call_sites_have_what_was_live_at_the_peak() {
    let peak = peak_of("two buffers", |cycle| {
        let model = cycle.load(|| vec![1_u8; 3_000_000]); // MODEL
        cycle.infer(|| {
            drop(black_box(vec![1_u8; 100_000]));
            let scratch = black_box(vec![1_u8; 2_000_000]); // SCRATCH
            drop(scratch);
        });
        drop(black_box(model));
        drop(black_box(vec![1_u8; 1_000_000]));
    });
    assert_eq!((peak.cycle, peak.phase), (1, Phase::Infer));
    let sites = peak.call_sites.iter();
    let sites: Vec<_> = sites
        .map(|s| (s.location(), s.phase, s.bytes, s.blocks))
        .take(2)
        .collect();
    let expected = [
        (line("MODEL"), Phase::Load, 3_000_000, 1),
        (line("SCRATCH"), Phase::Infer, 2_000_000, 1),
    ];
    assert_eq!(sites, expected);
}

#[test]
fn many_blocks_of_one_line_are_one_call_site() {
    let peak = peak_of("many blocks", |_| {
        let all: Vec<Vec<u8>> = (0..1000).map(|_| vec![1_u8; 5000]).collect(); // MANY
        drop(black_box(all));
    });
    let site = &peak.call_sites[0];
    assert_eq!(site.location(), line("MANY"));
    // The count is at most a tenth below the peak.
    assert!((900..=1000).contains(&site.blocks), "{}", site.blocks);
    assert_eq!(site.bytes, 5000 * site.blocks);
}

#[test]
fn the_peak_of_a_leak_is_in_a_late_cycle() {
    let mut kept = Vec::new();
    let peak = peak_of("kept", |_| kept.push(vec![1_u8; 1_000_000]));
    assert!(peak.cycle >= 11, "{}", peak.cycle);
}

#[test]
fn a_block_of_another_thread_counts() {
    let peak = peak_of("thread", |_| {
        let buffer = std::thread::spawn(|| vec![1_u8; 2_000_000]); // THREAD
        drop(black_box(buffer.join().unwrap()));
    });
    let site = &peak.call_sites[0];
    assert_eq!((site.location(), site.bytes), (line("THREAD"), 2_000_000));
}

#[test]
fn the_users_own_code_has_a_share_of_its_own() {
    let report = Check::new("own")
        .cycles(12)
        .run_report(|_: &mut Cycle<'_>| drop(black_box(vec![1_u8; 2_000_000])))
        .unwrap();
    let own = report.crates.iter().find(|c| c.name == "own code").unwrap();
    assert_eq!((own.peak_bytes, own.retained_bytes), (2_000_000, 0));
}
