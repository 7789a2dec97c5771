//! `afterdrop exec`: which of a program's processes were killed, cannot be recorded, or are reported afterwards, and
//! that a program sees nothing of the recorder.

mod common;

use std::process::Command;

use afterdrop::Verdict;
use afterdrop::report::Report;
use rstest::rstest;

use common::exec::{compiled, exec};
use common::{Folder, afterdrop, finish, wait_until};

const CYCLES: u32 = 83;

#[rstest]
#[case("SIGKILL", true)]
#[case("_exit", false)]
fn a_worker_that_is_killed_is_told(#[case] how: &str, #[case] is_told: bool) {
    let folder = Folder::new();
    let program = compiled(&folder, "killed.c", &["-g"]);
    let program = [program.to_str().unwrap(), &CYCLES.to_string(), how];
    let report = exec(&["--cycle-at", "call"], &program, folder)
        .exits(1)
        .report();
    let leaks = report
        .call_sites
        .iter()
        .filter(|s| s.verdict == Verdict::Leak);
    let rates = leaks.map(|s| (s.bytes_per_cycle, s.blocks_per_cycle));
    assert_eq!(rates.collect::<Vec<_>>(), [(Some(88.0), Some(1.0))]);
    let told = report.warnings.iter().find(|w| w.contains("was killed"));
    assert_eq!(told.is_some(), is_told, "{:?}", report.warnings);
    let cycles = format!("was killed after {CYCLES} cycles");
    assert!(told.is_none_or(|w| w.contains(&cycles)), "{told:?}");
}

#[cfg(feature = "formats")]
#[test]
fn the_journal_of_another_process_is_reported_afterwards() {
    let folder = Folder::new();
    let program = compiled(&folder, "workers.c", &["-g"]);
    let program = [program.to_str().unwrap(), &CYCLES.to_string(), "5"];
    let ran = exec(&["--cycle-at", "call"], &program, folder).exits(1);
    let mut processes = std::fs::read_dir(ran.file("processes")).unwrap();
    let parent = processes.next().unwrap().unwrap().file_name();
    let parent = parent.to_str().unwrap().split('-').next().unwrap();
    let report_of = |process: &str| {
        let mut command = Command::new(afterdrop());
        command.arg("report").arg(ran.dir());
        command.args(["--process", process, "--as", "json"]);
        finish(command, Folder::new())
    };
    for process in [parent, "workers-c"] {
        let shown = report_of(process).exits(0);
        let report: Report = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(report.cycles_run(), 5);
    }
    let error = report_of("nobody").exits(2).err;
    assert!(
        error.contains("`nobody`") && error.contains(parent),
        "{error}"
    );
}

#[test]
fn a_program_sees_what_it_sees_without_the_recorder() {
    let folder = Folder::new();
    let program = compiled(&folder, "sees.c", &["-g"]);
    // Started by the same process, so that it gets the same descriptors.
    let bare = finish(Command::new(&program), Folder::new()).exits(0).out;
    let program = program.to_str().unwrap().to_owned();
    let recorded = exec(&["--quiet", "--cycle-at", "call"], &[&program], folder);
    let seen = recorded.out.lines().take(bare.lines().count());
    assert_eq!(seen.collect::<Vec<_>>(), bare.lines().collect::<Vec<_>>());
}

#[rstest]
#[case::static_program("-static", "cannot record", "it is statically linked")]
#[case::own_malloc("-rdynamic", "cannot record", "a `malloc` of its own")]
fn a_program_that_cannot_be_recorded_is_refused_behind_another(
    #[case] option: &str,
    #[case] begin: &str,
    #[case] why: &str,
) {
    let folder = Folder::new();
    let source = folder.join("service.c");
    let own = "static char heap[1 << 20]; static size_t used;\n\
         void *malloc(size_t size) { void *at = heap + used; used += (size + 15) & ~15ul; return at; }\n\
         void free(void *at) { (void)at; }\n";
    let main = "int main(int n, char **a) { creat(a[1], 0600); for (;;) { pause(); } }\n";
    let own = if option == "-static" { "" } else { own };
    let text = format!("#include <fcntl.h>\n#include <stddef.h>\n#include <unistd.h>\n{own}{main}");
    std::fs::write(&source, text).unwrap();
    let program = compiled(&folder, source.to_str().unwrap(), &[option]);
    let is_up = folder.join("up");
    let script = format!("{} {}; true", program.display(), is_up.display());
    let mut command = Command::new(afterdrop());
    command
        .current_dir(folder.path())
        .args([
            "exec",
            "--quiet",
            "--cycle-at",
            "every:0.01s",
            "--out",
            "out",
            "--",
        ])
        .args(["sh", "-c", &script])
        .stderr(std::process::Stdio::piped());
    let running = command.spawn().unwrap();
    wait_until("the program runs", || is_up.exists());
    // SAFETY: `kill` accesses no memory, and the command was not waited for.
    unsafe { libc::kill(running.id() as i32, libc::SIGTERM) };
    let ended = running.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{error}");
    assert!(error.contains(begin) && error.contains(why), "{error}");
}

#[test]
fn a_crash_before_the_first_cycle_is_told() {
    let ran = exec(
        &["--cycle-at", "call"],
        &["sh", "-c", "kill -SEGV $$"],
        Folder::new(),
    );
    let ran = ran.exits(2);
    assert!(ran.error().contains("SIGSEGV"), "{}", ran.error());
}
