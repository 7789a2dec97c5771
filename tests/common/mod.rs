//! What the tests from outside share: running the command in a folder of its own.
#![allow(dead_code)] // each test binary uses its part

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use afterdrop::Report;

/// A folder that goes when it is dropped.
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

    /// A path in it at which nothing is yet.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a command came to.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    /// The folder that it was given with `--out`, and the one around it.
    pub folder: Folder,
}

impl Ran {
    pub fn dir(&self) -> PathBuf {
        self.folder.join("out")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn report(&self) -> Report {
        Report::read(&self.file("report.json"))
            .unwrap_or_else(|e| panic!("{e}\n--- out\n{}\n--- err\n{}", self.out, self.err))
    }

    /// What it printed on standard output, with all white space folded.
    pub fn words(&self) -> String {
        self.out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The one line that it printed on standard error.
    pub fn error(&self) -> &str {
        let line = self.err.trim_end();
        assert_eq!(line.lines().count(), 1, "more than one line: {line}");
        line
    }

    /// Fails, with what was printed, unless the exit code is `code`.
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

/// Runs it without a terminal.
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
