//! Helpers that the integration tests share.
#![allow(dead_code, unused_imports, unused_macros)] // each test binary uses a part

pub mod exec;

use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use afterdrop::Report;
use libtest_mimic::Trial;

/// Longest wait for a condition. It is only reached if the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A temporary folder, removed when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("afterdrop-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A finished command: its exit code, what it printed, and the folder that it ran with.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    /// The temporary folder of the command; `out` in it was given with `--out`.
    pub folder: Folder,
}

impl Ran {
    /// The folder given with `--out`.
    pub fn dir(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// A file in the folder given with `--out`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn report(&self) -> Report {
        Report::read(&self.file("report.json"))
            .unwrap_or_else(|e| panic!("{e}\n--- out\n{}\n--- err\n{}", self.out, self.err))
    }

    /// Standard output with each run of white space replaced by one space.
    pub fn words(&self) -> String {
        words(&self.out)
    }

    /// Standard error, which must be one line.
    pub fn error(&self) -> &str {
        let line = self.err.trim_end();
        assert_eq!(line.lines().count(), 1, "expected one line: {line}");
        line
    }

    /// Fails, with what was printed, unless this is the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- out\n{}\n--- err\n{}",
            self.out,
            self.err
        );
        self
    }
}

/// The `afterdrop` executable, where cargo has built it for the test.
pub fn afterdrop() -> &'static Path {
    match option_env!("CARGO_BIN_EXE_afterdrop") {
        Some(program) => Path::new(program),
        None => panic!("this test needs the binary: enable the feature `cli`"),
    }
}

/// `afterdrop run <args> --out <a new folder>`.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    run_with(afterdrop(), args)
}

/// `program run <args> --out <a new folder>`.
pub fn run_with<A: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> Ran {
    let folder = Folder::new();
    let mut command = Command::new(program);
    command
        .arg("run")
        .args(args)
        .arg("--out")
        .arg(folder.join("out"));
    finish(command, folder)
}

/// `afterdrop <args>`, started in a new folder.
pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    let folder = Folder::new();
    let mut command = Command::new(afterdrop());
    command.args(args).current_dir(folder.path());
    finish(command, folder)
}

/// Runs a command without a terminal.
pub fn finish(mut command: Command, folder: Folder) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
        folder,
    }
}

/// A text with each run of white space replaced by one space.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The message that a check fails with.
pub fn message(check: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("the check should fail");
    *payload.downcast::<String>().expect("a message")
}

/// A temporary path that is the same in a test and in the measured process of its check.
pub fn shared_path(name: &str) -> PathBuf {
    let test = match std::env::var_os("AFTERDROP_PLAN") {
        Some(_) => std::os::unix::process::parent_id(),
        None => std::process::id(),
    };
    std::env::temp_dir().join(format!("afterdrop-test-{test}-{name}"))
}

/// `file:line` of the one line in a source file that ends in the comment `// marker`.
pub fn marked(file: &str, text: &str, marker: &str) -> String {
    let marker = format!("// {marker}");
    let mut lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.trim_end().ends_with(&marker));
    let (line, _) = lines.next().expect("a marked line");
    assert_eq!(lines.next(), None, "{marker} marks more than one line");
    format!("{file}:{line}")
}

/// Waits until a condition holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs something with longer and longer time-outs until it got as far as the test needs.
///
/// How long a process takes to start depends on the machine, so that no time-out is both short and
/// always sufficient.
pub fn with_timeout<R>(mut run: impl FnMut(Duration) -> R, is_enough: impl Fn(&R) -> bool) -> R {
    let mut timeout = Duration::from_millis(500);
    loop {
        let result = run(timeout);
        if is_enough(&result) || timeout > PATIENCE {
            return result;
        }
        timeout *= 2;
    }
}

/// Whether a process runs. A zombie, which has ended and was not yet waited for, does not.
pub fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

/// A test of libtest-mimic. It fails if it panics.
pub fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        test();
        Ok(())
    })
}

/// The tests of libtest-mimic that run these functions, under their names.
macro_rules! trials {
    ($($name:ident)*) => { vec![$($crate::common::trial(stringify!($name), $name)),*] };
}
pub(crate) use trials;
