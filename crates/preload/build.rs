//! Compiles the shared library in `library/`, always optimized: it runs inside of every allocation.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("library");
    let package = PathBuf::from(variable("OUT_DIR")).join("package");
    println!("cargo::rerun-if-changed={}", folder.display());
    // Cargo does not follow the links to the recorder's sources.
    for sources in ["base", "model", "recorder"] {
        let sources = folder.join("src").join(sources).canonicalize();
        let sources = sources.unwrap_or_else(|e| panic!("cannot find {folder:?}: {e}"));
        println!("cargo::rerun-if-changed={}", sources.display());
    }
    write_manifest(&folder, &package);
    let target = variable("TARGET");
    let output = package.join("target");
    let mut build = Command::new(variable("CARGO"));
    build
        .args(["build", "--release", "--locked", "--quiet"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&output)
        // Those of the outer build, such as a sanitizer, are not for a library that others load.
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-C force-frame-pointers=yes");
    let status = build.status();
    let status = status.unwrap_or_else(|e| panic!("cannot start {build:?}: {e}"));
    assert!(
        status.success(),
        "cannot compile the library: {build:?} failed"
    );
    let library = output.join(target).join("release/libafterdrop.so");
    println!(
        "cargo::rustc-env=AFTERDROP_PRELOAD_LIBRARY={}",
        library.display()
    );
}

/// Writes the package's manifest. It is not called `Cargo.toml` in the repository, because Cargo leaves
/// folders with such a file out of a published crate.
fn write_manifest(folder: &Path, package: &Path) {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path:?}: {e}"))
    };
    let sources = folder.join("src").display().to_string();
    let manifest = read("manifest.toml").replace("@SOURCES@", &sources);
    fs::create_dir_all(package).unwrap_or_else(|e| panic!("cannot create {package:?}: {e}"));
    for (name, text) in [
        ("Cargo.toml", manifest),
        ("Cargo.lock", read("manifest.lock")),
    ] {
        let path = package.join(name);
        // Unchanged, it does not make Cargo compile again.
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|e| panic!("cannot read the variable {name}: {e}"))
}
