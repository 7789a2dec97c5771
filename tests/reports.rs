//! Stored reports in other formats, and compared: the command from outside.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use afterdrop::Report;
use afterdrop::report::formats::Format;
use common::{Folder, Ran, finish, run_with};

fn run(args: &[&str]) -> Ran {
    run_with(Path::new(env!("CARGO_BIN_EXE_afterdrop")), args)
}

/// Another subcommand.
fn afterdrop(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    command.args(args);
    finish(command, Folder::new())
}

#[test]
fn a_run_writes_the_formats_requested() {
    let ran = run(&["planted:registry", "--report", "html,csv,pprof"]).exits(1);
    for format in [
        Format::Html,
        Format::CsvCallSites,
        Format::CsvBoundaries,
        Format::Pprof,
    ] {
        assert!(ran.file(format.file()).is_file(), "{format}");
        assert!(ran.words().contains(format.file()), "{}", ran.out);
    }
    assert!(!ran.file(Format::Sarif.file()).exists());
    let page = fs::read_to_string(ran.file("report.html")).unwrap();
    // The source of the leaking line, and the static that holds it.
    assert!(page.contains("// PLANTED") && page.contains("registry::REGISTRY"));
    let refused = run(&["planted:registry", "--report", "pdf"]).exits(2);
    assert!(refused.error().contains("markdown"), "{}", refused.err);
}

#[test]
fn a_stored_report_is_written_in_any_format() {
    let ran = run(&["planted:registry"]).exits(1);
    let dir = ran.dir().display().to_string();
    let first = |args: &[&str]| {
        let shown = afterdrop(args).exits(0);
        shown.out.lines().next().unwrap_or_default().to_owned()
    };
    assert!(first(&["report", &dir]).starts_with("LEAK        planted:registry leaks 4.10 kB"));
    assert!(first(&["report", &dir, "--as", "markdown"]).starts_with("### afterdrop: LEAK"));
    assert!(first(&["report", &dir, "--as", "csv-call-sites"]).starts_with("call_site,verdict,"));
    let all = ran.folder.join("all");
    let all = all.display().to_string();
    afterdrop(&["report", &dir, "--as", "all", "-o", &all]).exits(0);
    for format in Format::ALL {
        let length = fs::metadata(Path::new(&all).join(format.file()))
            .unwrap()
            .len();
        assert!(length > 0, "{format}");
    }
    let again = Report::read(&Path::new(&all).join("report.json")).unwrap();
    assert!(again == ran.report(), "the report is read back unchanged");
}

#[test]
fn a_pipe_is_written_to_and_the_input_is_never_overwritten() {
    let ran = run(&["planted:registry"]).exits(1);
    let report = ran.file("report.json").display().to_string();
    let pipe = ran.folder.join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let pipe_text = pipe.display().to_string();
    for force in [&[][..], &["--force"]] {
        let reader = Command::new("cat")
            .arg(&pipe)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let args = ["report", &report, "--as", "markdown", "-o", &pipe_text];
        afterdrop(&[&args[..], force].concat()).exits(0);
        let read = reader.wait_with_output().unwrap().stdout;
        assert!(
            read.starts_with(b"### afterdrop"),
            "the pipe is not replaced"
        );
        let args = ["report", &report, "--as", "html", "-o", &report];
        let refused = afterdrop(&[&args[..], force].concat()).exits(2);
        assert!(refused.error().contains("is the input"), "{}", refused.err);
    }
    let dir = ran.folder.path().display().to_string();
    afterdrop(&["report", &report, "--as", "html", "-o", &dir]).exits(0);
    assert!(ran.folder.join("report.html").is_file());
    let refused = afterdrop(&["report", &report, "--as", "csv", "-o", "x.csv"]).exits(2);
    assert!(
        refused.error().contains("written to a folder"),
        "{}",
        refused.err
    );
    let link = ran.folder.join("link.html");
    std::os::unix::fs::symlink("report.html", &link).unwrap();
    let link_text = link.display().to_string();
    afterdrop(&[
        "report", &report, "--as", "markdown", "-o", &link_text, "--force",
    ])
    .exits(0);
    assert!(link.is_symlink(), "the link is followed, not replaced");
    assert!(
        fs::read_to_string(ran.folder.join("report.html"))
            .unwrap()
            .starts_with("###")
    );
}

#[test]
fn nothing_is_overwritten_without_force() {
    let ran = run(&["planted:registry"]).exits(1);
    let dir = ran.dir().display().to_string();
    let to = ran.folder.join("mine.html");
    fs::write(&to, "mine").unwrap();
    let to_text = to.display().to_string();
    let refused = afterdrop(&["report", &dir, "--as", "html", "-o", &to_text]).exits(2);
    assert!(refused.error().contains("--force"), "{}", refused.err);
    assert_eq!(fs::read_to_string(&to).unwrap(), "mine");
    afterdrop(&["report", &dir, "--as", "html", "-o", &to_text, "--force"]).exits(0);
    assert!(
        fs::read_to_string(&to)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    let refused = afterdrop(&["report", &dir, "--as", "html,sarif"]).exits(2);
    assert!(refused.error().contains("-o DIR"), "{}", refused.err);
    let before = fs::read(ran.file("report.json")).unwrap();
    afterdrop(&["report", &dir, "--as", "all", "-o", &dir]).exits(0);
    assert!(fs::read(ran.file("report.json")).unwrap() == before);
    let refused = afterdrop(&["report", &dir, "--as", "html,sarif", "-o", &dir]).exits(2);
    assert!(
        refused.error().contains("already exists"),
        "{}",
        refused.err
    );
}

#[test]
fn paths_can_be_remapped() {
    let ran = run(&["planted:registry", "--remap", "fixtures/leaks=src/serving"]).exits(1);
    let site = ran.report().call_sites[0].clone();
    assert_eq!(site.location(), "src/serving/registry.rs:25");
    let dir = ran.dir().display().to_string();
    let shown = afterdrop(&[
        "report",
        &dir,
        "--as",
        "csv-call-sites",
        "--remap",
        "src/serving=x",
    ])
    .exits(0);
    assert!(shown.out.contains(",x/registry.rs,25,"), "{}", shown.out);
    let refused = afterdrop(&["report", &dir, "--remap", "src"]).exits(2);
    assert!(refused.error().contains("FROM=TO"), "{}", refused.err);
}

#[test]
fn no_report_contains_the_home_folder() {
    let folder = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    let program = Path::new(env!("CARGO_BIN_EXE_afterdrop"));
    // The program was built below this folder.
    let home = program.ancestors().nth(2).unwrap();
    command
        .args(["run", "planted:registry", "--report", "all", "--out"])
        .arg(folder.join("out"))
        .env("HOME", home);
    let ran = finish(command, folder).exits(1);
    for format in Format::ALL.into_iter().filter(|f| *f != Format::Pprof) {
        let text = fs::read_to_string(ran.file(format.file())).unwrap();
        assert!(!text.contains(&home.display().to_string()), "{format}");
    }
}

#[test]
fn a_new_leak_fails_a_comparison_and_a_fixed_one_does_not() {
    let (clean, leak) = (
        run(&["planted:lru"]).exits(0),
        run(&["planted:registry"]).exits(1),
    );
    // The clean run, under the name of the leaking workload: the leak fixed.
    let path = clean.file("report.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("planted:lru", "planted:registry")).unwrap();
    let dirs = [&clean, &leak].map(|ran| ran.dir().display().to_string());
    let [clean, leak] = dirs.each_ref().map(String::as_str);
    let compare = |args: &[&str]| afterdrop(&[&["compare"], args].concat());
    let new = compare(&[clean, leak, "--fail-on-new"]).exits(1);
    assert!(
        new.words().contains("clean -> leak; 1 new, 0 fixed"),
        "{}",
        new.out
    );
    assert!(
        new.out.contains("fixtures/leaks/registry.rs:25"),
        "{}",
        new.out
    );
    compare(&[clean, leak]).exits(0);
    let fixed = compare(&[leak, clean, "--fail-on-new"]).exits(0);
    assert!(
        fixed.words().contains("leak -> clean; 0 new, 1 fixed"),
        "{}",
        fixed.out
    );
    let same = compare(&[leak, leak, "--fail-on-new"]).exits(0);
    assert!(
        same.words().contains("0 new, 0 fixed, 1 unchanged"),
        "{}",
        same.out
    );
    assert!(
        compare(&[clean, leak, "--as", "markdown"])
            .exits(0)
            .out
            .contains("| new |")
    );
    assert!(
        compare(&[clean, leak, "--as", "html"])
            .exits(0)
            .out
            .starts_with("<!DOCTYPE")
    );
    let json = compare(&[clean, leak, "--as", "json"]).exits(0).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["changes"][0]["became"], "new");
    assert!(
        compare(&[clean, leak, "--as", "pprof"])
            .exits(2)
            .error()
            .contains("markdown")
    );
}

#[test]
fn the_schema_the_manual_and_completions_are_printed() {
    let schema = afterdrop(&["schema"]).exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.out).unwrap();
    assert_eq!(schema["type"], "object");
    assert!(afterdrop(&["man"]).exits(0).out.contains(".TH"));
    assert!(afterdrop(&["man", "run"]).exits(0).out.contains("sample"));
    assert!(
        afterdrop(&["man", "rum"])
            .exits(2)
            .error()
            .contains("`run`")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            afterdrop(&["completions", shell])
                .exits(0)
                .out
                .contains("strategies")
        );
    }
}

#[test]
fn colours_are_used_on_request() {
    let ran = run(&["planted:lru", "--color", "always"]).exits(0);
    assert!(ran.out.contains("\u{1b}[1m"), "{}", ran.out);
    let ran = run(&["planted:lru", "--color=never"]).exits(0);
    assert!(!ran.out.contains('\u{1b}'));
    let dir = ran.dir().display().to_string();
    let shown = afterdrop(&["--color", "always", "report", &dir]).exits(0);
    assert!(shown.out.contains('\u{1b}'));
}

#[test]
fn a_file_that_is_no_report_is_refused() {
    let folder = Folder::new();
    let path = folder.join("report.json");
    for (text, says) in [
        ("{}", "no schema"),
        (
            "{\"schema\": \"afterdrop/9\"}",
            "run it again with this version",
        ),
        ("{\"schema\": \"afterdrop/2\"}", "missing field"),
        ("{\"schema\"", "not JSON"),
        ("[1]", "not a report"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = afterdrop(&["report", &path.display().to_string()]).exits(2);
        assert!(refused.error().contains(says), "{}", refused.err);
    }
}
