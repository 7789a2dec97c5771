//! Running programs of `fixtures/exec` as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Folder, Ran, afterdrop, finish};

/// The folder with the sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/exec")
}

/// Compiles a program or a library into a folder.
pub fn compiled(folder: &Folder, source: &str, options: &[&str]) -> PathBuf {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/preload/include");
    let output = folder.join(&source.replace('.', "-"));
    let (compiler, standard): (_, &[&str]) = match source.rsplit_once('.') {
        Some((_, "rs")) => ("rustc", &["--edition", "2024"]),
        Some((_, "cpp")) => ("c++", &["-std=c++17", "-O1", "-pthread"]),
        _ => (
            "cc",
            &["-O1", "-fno-builtin", "-pthread", "-Wall", "-Werror"],
        ),
    };
    let mut command = Command::new(compiler);
    command.args(standard).args(options).arg("-o").arg(&output);
    if compiler != "rustc" {
        command.arg("-I").arg(include);
    }
    let ran = command.arg(sources().join(source)).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
    output
}

/// `afterdrop exec <options> --out <folder>/out -- <program>`, started in the folder.
pub fn exec(options: &[&str], program: &[&str], folder: Folder) -> Ran {
    let mut command = Command::new(afterdrop());
    command
        .current_dir(folder.path())
        .arg("exec")
        .args(options)
        .arg("--out")
        .arg(folder.join("out"))
        .arg("--")
        .args(program);
    finish(command, folder)
}
