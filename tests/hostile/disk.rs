//! The disk is full, a file cannot be written, or too many are open.

use std::process::Command;

use crate::common::{self, Folder, Ran};
use crate::workloads::ENV_BLOCKED;

/// What changed in the statistics of the allocator.
const BLOCKED: &str = "jemalloc-stats-change.txt";

pub fn a_file_beside_the_report_that_cannot_be_written_is_a_note() {
    let folder = Folder::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["run", "blocks-a-file", "--heap", "jemalloc"])
        .args(["--cycles", "20", "--out"])
        .arg(folder.join("out"))
        .env(ENV_BLOCKED, folder.join("out").join(BLOCKED));
    let ran = common::finish(command, folder).exits(1);
    let report = ran.report();
    assert!(report.ended.is_complete(), "{}", report.ended);
    let words = ran.words();
    let note = words
        .split("note ")
        .find(|note| note.contains("cannot write"));
    let note = note.unwrap_or_else(|| panic!("{words}"));
    assert!(note.contains(BLOCKED), "{note}");
    assert!(note.contains("directory"), "{note}");
}

/// Runs `leaks` with an output folder on a disk of this size, which only the command sees.
fn run_on_disk_of(kilobytes: u32) -> (Ran, bool) {
    let folder = Folder::new();
    let mounted = folder.join("disk");
    std::fs::create_dir(&mounted).unwrap();
    let script = "mount -t tmpfs -o size=$1k tmpfs \"$2\" || exit 99; shift; cd \"$1\"; shift
                  \"$@\"; code=$?; [ -s out/report.json ] && echo has-report; exit $code";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(kilobytes.to_string())
        .arg(&mounted)
        .arg(std::env::current_exe().unwrap())
        .args([
            "run", "leaks", "--heap", "jemalloc", "--cycles", "20", "--out", "out",
        ]);
    let ran = common::finish(command, folder);
    let has_report = ran.out.contains("has-report");
    (ran, has_report)
}

/// Whether this user can mount a disk that no other process sees.
pub fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "tmpfs",
        "/mnt",
    ]);
    command.output().is_ok_and(|output| output.status.success())
}

pub fn a_full_disk_is_named_as_the_reason() {
    let mut reports = 0;
    for kilobytes in [4, 8, 12, 16, 24, 40, 64, 100, 120, 140, 160, 200, 4000] {
        let (ran, has_report) = run_on_disk_of(kilobytes);
        let all = ran.words() + &ran.err;
        assert!(!all.contains("exit code"), "{kilobytes} kB: {all}");
        let names_reason = all.contains("No space left on device");
        let has_all = has_report && all.contains(BLOCKED);
        assert!(names_reason || has_all, "{kilobytes} kB: {all}");
        // The report is worth more than the statistics of the allocator.
        assert!(has_report || kilobytes < 120, "{kilobytes} kB: {all}");
        // With a report, the verdict is what the command ends with.
        let code = ran.code.unwrap();
        assert!(
            !has_report || matches!(code, 1 | 3),
            "{kilobytes} kB: {code}: {all}"
        );
        reports += usize::from(has_report);
    }
    assert!(reports >= 4, "{reports}");
}

pub fn a_disk_that_is_full_from_the_start_keeps_nothing() {
    let folder = Folder::new();
    let mounted = folder.join("disk");
    std::fs::create_dir(&mounted).unwrap();
    // Without room for a file, and then without room for the library.
    for (options, command) in [
        ("size=8k,nr_inodes=2", "run"),
        ("size=8k,nr_inodes=3", "run"),
        ("size=8k", "exec"),
    ] {
        if command == "exec" && !cfg!(feature = "exec") {
            continue;
        }
        let script = "mount -t tmpfs -o $1 tmpfs \"$2\" || exit 99; shift; cd \"$1\"; shift
                      \"$@\"; find . -mindepth 1 | sed 's/^/LEFT /'";
        let mut process = Command::new("unshare");
        process
            .args([
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
                options,
            ])
            .arg(&mounted);
        match command {
            "exec" => process.arg(common::afterdrop()).args([
                "exec",
                "--cycle-at",
                "call",
                "--out",
                "out",
                "--",
                "true",
            ]),
            _ => process.arg(std::env::current_exe().unwrap()).args([
                "run", "leaks", "--heap", "system", "--cycles", "20", "--out", "out",
            ]),
        };
        let ran = common::finish(process, Folder::new());
        assert!(
            ran.err.contains("No space left on device"),
            "{options}: {}",
            ran.err
        );
        assert!(!ran.out.contains("LEFT"), "{options}: {}", ran.out);
    }
}

pub fn a_limit_on_open_files_is_named() {
    let mut failed = 0;
    for limit in 4..24 {
        let folder = Folder::new();
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n $0; exec \"$@\"", &limit.to_string()])
            .arg(std::env::current_exe().unwrap())
            .args([
                "run", "leaks", "--heap", "system", "--cycles", "20", "--out",
            ])
            .arg(folder.join("out"));
        let ran = common::finish(command, folder);
        if ran.code == Some(1) {
            continue;
        }
        failed += 1;
        assert!(matches!(ran.code, Some(2 | 3)), "{limit}: {:?}", ran.code);
        let error = ran.error();
        assert!(error.contains("ulimit -n"), "{limit}: {error}");
    }
    assert!((1..20).contains(&failed), "{failed}");
}
