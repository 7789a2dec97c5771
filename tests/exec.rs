//! `afterdrop exec` on programs that know nothing of it, in C, C++ and Rust: verdict, line, exact bytes and
//! blocks, holder. What each program does is in `fixtures/exec`.

mod common;

use std::process::Command;

use afterdrop::report::{CallSite, Grows, Report, RunVerdict};
use afterdrop::{Verdict, report::HolderKind};
use rstest::rstest;

use common::exec::{compiled, sources};
use common::{Folder, Ran, afterdrop, is_running, wait_until};

const CYCLES: u32 = 83;

/// [`common::exec::exec`] in a folder that has a file `model.bin`.
fn exec(options: &[&str], program: &[&str], folder: Folder) -> Ran {
    std::fs::write(folder.join("model.bin"), "a model").unwrap();
    common::exec::exec(options, program, folder)
}

/// Runs a program for [`CYCLES`] cycles, which `afterdrop_cycle` marks.
fn marked_by_calls(source: &str, options: &[&str]) -> Ran {
    let folder = Folder::new();
    let program = compiled(&folder, source, options);
    let program = program.to_str().unwrap();
    let cycles = CYCLES.to_string();
    exec(&["--cycle-at", "call"], &[program, &cycles], folder)
}

/// The line with a comment that begins with this word.
fn line(source: &str, word: &str) -> u32 {
    let text = std::fs::read_to_string(sources().join(source)).unwrap();
    let comments = [format!("/* {word} "), format!("// {word}")];
    let mut lines = (1..).zip(text.lines());
    let is_marked = |line: &str| comments.iter().any(|c| line.contains(c.as_str()));
    lines
        .find(|(_, line)| is_marked(line))
        .expect("a marked line")
        .0
}

/// The one call site that leaks, after its line, its bytes and its blocks per cycle were checked.
#[track_caller]
fn leak<'a>(report: &'a Report, source: &str, bytes: f64, blocks: f64) -> &'a CallSite {
    assert_eq!(report.verdict, RunVerdict::Leak);
    assert_eq!(report.cycles_run(), CYCLES);
    let mut leaks = report
        .call_sites
        .iter()
        .filter(|s| s.verdict == Verdict::Leak);
    let site = leaks.next().expect("a call site leaks");
    let other = leaks.next();
    assert!(other.is_none(), "{other:#?}");
    let file = site.file.as_deref().unwrap_or_default();
    assert!(file.ends_with(source), "{site:#?}");
    assert_eq!(site.line, Some(line(source, "PLANTED")));
    assert_eq!(site.bytes_per_cycle, Some(bytes));
    assert_eq!(site.blocks_per_cycle, Some(blocks));
    site
}

fn holder(site: &CallSite) -> HolderKind {
    site.holder.as_ref().expect("a holder").kind
}

/// The verdicts on call sites other than a leak's.
#[track_caller]
fn nothing_grows(report: &Report) {
    assert_eq!(report.verdict, RunVerdict::Clean, "{report}");
    let growing = report.call_sites.iter().find(|s| s.verdict.is_growth());
    assert!(growing.is_none(), "{growing:#?}");
}

#[test]
fn a_leak_between_openings_of_a_file_has_its_line() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.c", &["-g"]);
    let program = [program.to_str().unwrap(), "./model.bin", "83"];
    let ran = exec(&["--cycle-at", "open:*.bin"], &program, folder).exits(1);
    let report = ran.report();
    let site = leak(&report, "leak.c", 100.0, 1.0);
    assert_eq!(holder(site), HolderKind::Lost);
    let cache = report
        .call_sites
        .iter()
        .find(|s| s.verdict == Verdict::Cache);
    let cache = cache.expect("the labels are a cache");
    assert_eq!((cache.retained_bytes, cache.retained_blocks), (16 * 20, 16));
    let cached = cache.holder.as_ref().and_then(|h| h.name.as_deref());
    assert!(cached.is_none_or(|name| name == "labels"), "{cached:?}");
}

/// Such a program has a stub in its own image, in the place of the function.
#[test]
fn a_program_that_takes_the_address_of_malloc_has_none_of_its_own() {
    let options = ["-g", "-no-pie", "-fno-pie", "-Wl,-z,lazy"];
    let report = marked_by_calls("address.c", &options).exits(1).report();
    leak(&report, "address.c", 100.0, 1.0);
}

#[test]
fn a_bounded_cache_is_clean_whatever_allocates_it() {
    let report = marked_by_calls("cache.c", &["-g"]).exits(0).report();
    nothing_grows(&report);
    assert_eq!(report.cycles_run(), CYCLES);
}

#[test]
fn sizes_are_those_that_were_asked_for() {
    let report = marked_by_calls("sizes.c", &["-g"]).exits(1).report();
    let mut sites: Vec<(u32, f64)> = report
        .call_sites
        .iter()
        .filter(|s| s.verdict == Verdict::Leak)
        .map(|s| (s.line.unwrap(), s.bytes_per_cycle.unwrap()))
        .collect();
    sites.sort_by_key(|s| s.0);
    let first = line("sizes.c", "KEPT");
    let sizes = [
        80.0, 1.0, 999.0, 7.0, 143.0, 640.0, 5.0, 125.0, 1000.0, 200_001.0,
    ];
    let lines = [0, 1, 2, 3, 4, 5, 6, 9, 10, 11];
    let truth: Vec<(u32, f64)> = lines.iter().map(|l| first + l).zip(sizes).collect();
    assert_eq!(sites, truth);
    let held = report.call_sites.iter().filter_map(|s| s.holder.as_ref());
    let mut names = held.filter_map(|h| h.name.as_deref());
    assert!(names.all(|name| name == "all"));
}

#[test]
fn arenas_that_threads_leave_behind_are_no_leak() {
    let report = marked_by_calls("arenas.c", &["-g"]).exits(0).report();
    nothing_grows(&report);
    assert_eq!(report.process.grows, Grows::AllocatorKeepsPages);
    let sentence = &report.process.sentence;
    assert!(
        sentence.contains("in 4 arenas that threads have used"),
        "{sentence}"
    );
    assert!(sentence.contains("`MALLOC_ARENA_MAX=2`"), "{sentence}");
}

#[test]
fn what_a_pool_keeps_of_its_highest_use_is_no_leak() {
    // The list of regions has room for 32 pointers.
    const LIST: u64 = 32 * 8;
    let report = marked_by_calls("pool.cpp", &["-g"]).exits(0).report();
    nothing_grows(&report);
    let is_pool = |site: &&CallSite| site.line == Some(line("pool.cpp", "PLANTED"));
    let site = report.call_sites.iter().find(is_pool).unwrap();
    assert_eq!(
        (site.verdict, site.retained_bytes),
        (Verdict::Cache, 210_000 + LIST)
    );
    let pool = site.pool.as_deref().unwrap();
    assert!(pool.contains("`enable_cpu_mem_arena = False`"), "{pool}");
}

#[test]
fn code_of_a_library_that_is_opened_and_closed_has_its_line() {
    let folder = Folder::new();
    let library = compiled(&folder, "library.c", &["-g", "-shared", "-fPIC"]);
    let program = compiled(&folder, "host.c", &["-g"]);
    let program = [program.to_str().unwrap(), library.to_str().unwrap(), "83"];
    let report = exec(&["--cycle-at", "call"], &program, folder)
        .exits(1)
        .report();
    let site = leak(&report, "library.c", 40.0, 1.0);
    assert_eq!(holder(site), HolderKind::Static);
    let name = site.holder.as_ref().and_then(|h| h.name.as_deref());
    assert_eq!(name, Some("kept"));
}

#[test]
fn of_libraries_with_the_same_addresses_it_is_said_that_it_is_one_of_them() {
    let folder = Folder::new();
    let library = compiled(&folder, "library.c", &["-g", "-shared", "-fPIC"]);
    let other = folder.join("other.so");
    std::fs::copy(&library, &other).unwrap();
    let program = compiled(&folder, "host.c", &["-g"]);
    let program = [
        program.to_str().unwrap(),
        library.to_str().unwrap(),
        "83",
        other.to_str().unwrap(),
    ];
    let report = exec(&["--cycle-at", "call"], &program, folder)
        .exits(1)
        .report();
    let mut leaks = report
        .call_sites
        .iter()
        .filter(|s| s.verdict == Verdict::Leak);
    let (site, other) = (leaks.next().unwrap(), leaks.next());
    assert!(other.is_none(), "{other:#?}");
    // Wherever the loader has put them.
    let is_either = site.function.contains("library-c or other.so")
        || site.function.contains("other.so or library-c");
    assert!(is_either, "{site:#?}");
    assert_eq!((site.bytes_per_cycle, site.line), (Some(40.0), None));
}

#[test]
fn loads_from_several_places_are_cycles_of_their_own() {
    let folder = Folder::new();
    let program = compiled(&folder, "places.c", &["-g"]);
    let program = [program.to_str().unwrap(), "model.bin", "30"];
    let ran = exec(&["--cycle-at", "open:model.bin"], &program, folder);
    // Of 120 loads the first begins the first cycle, the first one from the other place is taken for a part of
    // its predecessor, and the last cycle has no end.
    assert_eq!(ran.report().cycles_run(), 118);
}

#[test]
fn a_load_on_the_smallest_stack_is_a_cycle() {
    let folder = Folder::new();
    let program = compiled(&folder, "small_stack.c", &["-g"]);
    let program = [program.to_str().unwrap(), "model.bin", "83"];
    let report = exec(&["--cycle-at", "open:model.bin"], &program, folder)
        .exits(1)
        .report();
    leak(&report, "small_stack.c", 33.0, 1.0);
}

#[test]
fn samples_stand_for_what_each_line_has_allocated() {
    const BLOCKS: u32 = 800;
    let folder = Folder::new();
    let program = compiled(&folder, "lines.c", &["-g"]);
    let program = [program.to_str().unwrap(), &BLOCKS.to_string()];
    let report = exec(&["--cycle-at", "call", "--sample=512"], &program, folder).report();
    for mark in ["FIRST", "SECOND", "THIRD"] {
        let mut sites = report.call_sites.iter();
        let site = sites
            .find(|s| s.line == Some(line("lines.c", mark)))
            .unwrap();
        // Some 110 samples, whose standard deviation is a tenth.
        let parts = site.retained_bytes as f64 / f64::from(77 * BLOCKS);
        assert!((0.5..1.5).contains(&parts), "{mark}: {parts}");
    }
    assert_eq!(
        report.process.grows,
        Grows::None,
        "{}",
        report.process.sentence
    );
}

#[test]
fn a_program_that_forks_away_is_waited_for() {
    let report = marked_by_calls("daemon.c", &["-g"]).exits(1).report();
    leak(&report, "daemon.c", 123.0, 1.0);
}

#[test]
fn threads_that_come_and_go_are_recorded() {
    let report = marked_by_calls("threads.c", &["-g"]).exits(1).report();
    leak(&report, "threads.c", 288.0, 4.0);
}

#[test]
fn what_other_processes_allocate_is_not_the_programs() {
    let report = marked_by_calls("processes.c", &["-g"]).exits(1).report();
    leak(&report, "processes.c", 56.0, 1.0);
}

#[rstest]
fn a_forked_worker_is_a_process_of_its_own(#[values("0", "5")] cycles_of_the_parent: &str) {
    let folder = Folder::new();
    let program = compiled(&folder, "workers.c", &["-g"]);
    let cycles = CYCLES.to_string();
    let program = [program.to_str().unwrap(), &cycles, cycles_of_the_parent];
    let ran = exec(&["--cycle-at", "call"], &program, folder).exits(1);
    let report = ran.report();
    let site = leak(&report, "workers.c", 72.0, 1.0);
    // Nothing of the parent counts.
    assert_eq!(site.retained_bytes, 72 * u64::from(CYCLES));
    assert_eq!(site.generations, CYCLES);
}

#[test]
fn objects_of_cpp_that_own_each_other_are_a_leak() {
    let report = marked_by_calls("leak.cpp", &["-g"]).exits(1).report();
    assert_eq!(report.verdict, RunVerdict::Leak);
    let bytes: f64 = report
        .call_sites
        .iter()
        .filter_map(|s| s.bytes_per_cycle)
        .sum();
    let blocks: f64 = report
        .call_sites
        .iter()
        .filter_map(|s| s.blocks_per_cycle)
        .sum();
    // Two blocks with a session and its counters (16 and 40 B), two with 50 numbers.
    assert_eq!((bytes, blocks), (2.0 * (56.0 + 200.0), 4.0));
    let functions: Vec<&str> = report.call_sites.iter().map(|s| &*s.function).collect();
    let is_in_session = |name: &&str| name.starts_with("serving::open_session");
    assert!(functions.iter().all(is_in_session), "{functions:?}");
}

#[test]
fn a_stripped_program_has_its_bytes() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.rs", &["-O", "-C", "strip=symbols"]);
    let program = [program.to_str().unwrap(), "model.bin", "83"];
    let report = exec(&["--cycle-at", "open:model.bin"], &program, folder)
        .exits(1)
        .report();
    let leaks = report
        .call_sites
        .iter()
        .filter(|s| s.verdict == Verdict::Leak);
    let sums: Vec<(f64, f64)> = leaks
        .map(|s| (s.bytes_per_cycle.unwrap(), s.blocks_per_cycle.unwrap()))
        .collect();
    assert_eq!(sums, [(24.0, 1.0)]);
}

#[test]
fn programs_in_front_are_followed() {
    for front in [
        &["timeout", "60"][..],
        &["nice"],
        &["env", "A=b"],
        &["/lib64/ld-linux-x86-64.so.2"],
        &["sh", "-c", "\"$@\"; exit", "sh"],
    ] {
        let folder = Folder::new();
        let program = compiled(&folder, "leak.c", &["-g"]);
        let program = [front, &[program.to_str().unwrap(), "model.bin", "83"]].concat();
        let ran = exec(&["--cycle-at", "open:model.bin"], &program, folder).exits(1);
        leak(&ran.report(), "leak.c", 100.0, 1.0);
    }
}

#[test]
fn without_marks_the_files_that_were_opened_again_are_named() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.c", &["-g"]);
    let program = [program.to_str().unwrap(), "model.bin", "83"];
    let ran = exec(&[], &program, folder).exits(2);
    let error = ran.error();
    assert!(error.contains("opened model.bin 84 times"), "{error}");
    assert!(error.contains("--cycle-at open:model.bin"), "{error}");
    assert!(!ran.dir().exists(), "nothing is left");
}

#[test]
fn files_that_a_forked_worker_opens_again_are_named() {
    let folder = Folder::new();
    let program = compiled(&folder, "workers.c", &[]);
    let ran = exec(&[], &[program.to_str().unwrap(), "83"], folder).exits(2);
    let error = ran.error();
    assert!(error.contains("opened model.bin 84 times"), "{error}");
}

#[test]
fn the_program_ends_after_the_wanted_cycles() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.c", &["-g"]);
    let program = [program.to_str().unwrap(), "model.bin", "100000000"];
    let options = ["--cycle-at", "open:model.bin", "--cycles", "83"];
    let report = exec(&options, &program, folder).exits(1).report();
    leak(&report, "leak.c", 100.0, 1.0);
}

#[test]
fn a_program_behind_a_shell_ends_after_the_wanted_cycles() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.c", &["-g"]);
    let id = folder.join("id");
    let script = format!(
        "{} model.bin 100000000 & echo $! >{}; wait",
        program.display(),
        id.display()
    );
    let options = ["--cycle-at", "open:model.bin", "--cycles", "83"];
    let ran = exec(&options, &["sh", "-c", &script], folder).exits(1);
    leak(&ran.report(), "leak.c", 100.0, 1.0);
    let program = std::fs::read_to_string(ran.folder.join("id")).unwrap();
    wait_until("the program ends", || !is_running(program.trim()));
}

#[test]
fn the_output_of_the_program_stays_as_it_is() {
    let folder = Folder::new();
    let program = ["sh", "-c", "cat model.bin; echo error >&2; exit 7"];
    let ran = exec(&["--cycle-at", "every:9"], &program, folder);
    assert!(ran.out.starts_with("a model"), "{}", ran.out);
    assert!(ran.err.starts_with("error\n"), "{}", ran.err);
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let static_program = |folder: &Folder| compiled(folder, "cache.c", &["-static"]);
    let folder = Folder::new();
    let program = static_program(&folder);
    let ran = exec(
        &["--cycle-at", "call"],
        &[program.to_str().unwrap()],
        folder,
    )
    .exits(2);
    assert!(ran.error().contains("statically linked"), "{}", ran.err);
    for (program, wrong) in [
        ("./nowhere", "No such file"),
        ("no-program-of-this-name", "in PATH"),
        ("./model.bin", "no executable file"),
    ] {
        let ran = exec(&["--cycle-at", "call"], &[program], Folder::new()).exits(2);
        assert!(ran.error().contains(wrong), "{program}: {}", ran.err);
    }
}

#[test]
fn a_program_with_a_malloc_of_its_own_is_refused() {
    let folder = Folder::new();
    let source = folder.join("own.c");
    let text = "#include <stddef.h>\n#include \"afterdrop.h\"\n\
         static char heap[1 << 20]; static size_t used;\n\
         void *malloc(size_t size) { void *at = heap + used; used += (size + 15) & ~15ul; return at; }\n\
         void free(void *at) { (void)at; }\n\
         int main(void) { for (int i = 0; i < 20; i++) { afterdrop_mark(); malloc(10); } return 0; }\n";
    std::fs::write(&source, text).unwrap();
    let program = compiled(&folder, source.to_str().unwrap(), &["-rdynamic"]);
    let ran = exec(
        &["--cycle-at", "call"],
        &[program.to_str().unwrap()],
        folder,
    )
    .exits(2);
    assert!(ran.error().contains("a `malloc` of its own"), "{}", ran.err);
}

#[test]
fn a_killed_program_is_reported() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.c", &["-g"]);
    let script = format!("{} model.bin 83; kill -9 $$", program.display());
    let ran = exec(
        &["--cycle-at", "open:model.bin"],
        &["sh", "-c", &script],
        folder,
    )
    .exits(3);
    assert!(ran.words().contains("was killed by SIGKILL"), "{}", ran.out);
    leak(&ran.report(), "leak.c", 100.0, 1.0);
}

#[test]
fn the_program_does_not_outlive_the_command() {
    let folder = Folder::new();
    let own_id = folder.join("id");
    let script = format!(
        "echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000",
        own_id.display()
    );
    let mut command = Command::new(afterdrop())
        .current_dir(folder.path())
        .args([
            "exec",
            "--cycle-at",
            "every:1h",
            "--out",
            "out",
            "--",
            "sh",
            "-c",
            &script,
        ])
        .spawn()
        .unwrap();
    wait_until("the program runs", || own_id.exists());
    let program = std::fs::read_to_string(&own_id).unwrap();
    command.kill().unwrap();
    command.wait().unwrap();
    wait_until("the program ends", || !is_running(program.trim()));
}

#[test]
fn a_service_ends_with_the_command_and_is_reported() {
    let folder = Folder::new();
    let program = compiled(&folder, "leak.c", &["-g"]);
    std::fs::write(folder.join("model.bin"), "a model").unwrap();
    let mut command = Command::new(afterdrop())
        .current_dir(folder.path())
        .args(["exec", "--cycle-at", "open:model.bin", "--out", "out", "--"])
        .args([program.to_str().unwrap(), "model.bin", "100000000"])
        .spawn()
        .unwrap();
    let has_cycles = || {
        let processes = std::fs::read_dir(folder.join("out/processes"));
        let mut journals = processes.into_iter().flatten().flatten();
        journals.any(|process| {
            let journal = std::fs::read_to_string(process.path().join("journal.jsonl"));
            journal.is_ok_and(|text| text.matches("{\"boundary\"").count() > 100)
        })
    };
    wait_until("the program has run 100 cycles", has_cycles);
    // SAFETY: `kill` accesses no memory, and the command was not waited for.
    unsafe { libc::kill(command.id() as i32, libc::SIGTERM) };
    assert_eq!(command.wait().unwrap().code(), Some(1));
    let report = Report::read(&folder.join("out/report.json")).unwrap();
    assert_eq!(report.verdict, RunVerdict::Leak);
    assert!(report.ended.is_complete());
}
