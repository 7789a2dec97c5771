//! The commands `report` and `compare`, and the ones that print documentation.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use afterdrop::Report;
use afterdrop::report::formats::Format;
use common::{Folder, afterdrop, command, finish, run};
use rstest::rstest;

#[test]
fn a_run_writes_the_requested_formats() {
    let ran = run(["planted:registry", "--report", "html,csv,pprof"]).exits(1);
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
    // The line that leaks, from the source, and the static that holds it.
    assert!(page.contains("// PLANTED") && page.contains("registry::REGISTRY"));
    let refused = run(["planted:registry", "--report", "pdf"]).exits(2);
    assert!(refused.error().contains("markdown"), "{}", refused.err);
}

#[test]
fn a_stored_report_is_shown_in_each_format() {
    let ran = run(["planted:registry"]).exits(1);
    let dir = ran.dir().display().to_string();
    let first = |args: &[&str]| {
        let shown = command(args).exits(0);
        shown.out.lines().next().unwrap_or_default().to_owned()
    };
    assert!(first(&["report", &dir]).starts_with("LEAK        planted:registry leaks 4.10 kB"));
    assert!(first(&["report", &dir, "--as", "markdown"]).starts_with("### afterdrop: LEAK"));
    assert!(first(&["report", &dir, "--as", "csv-call-sites"]).starts_with("call_site,verdict,"));
    let all = ran.folder.join("all");
    let all = all.display().to_string();
    command(["report", &dir, "--as", "all", "-o", &all]).exits(0);
    for format in Format::ALL {
        let length = fs::metadata(Path::new(&all).join(format.file()))
            .unwrap()
            .len();
        assert!(length > 0, "{format}");
    }
    let again = Report::read(&Path::new(&all).join("report.json")).unwrap();
    assert!(again == ran.report(), "a report is read as it was written");
}

#[test]
fn the_output_may_be_a_pipe_a_folder_or_a_link_but_not_the_input() {
    let ran = run(["planted:registry"]).exits(1);
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
        command([&args[..], force].concat()).exits(0);
        let read = reader.wait_with_output().unwrap().stdout;
        assert!(
            read.starts_with(b"### afterdrop"),
            "the pipe was replaced by a file"
        );
        let args = ["report", &report, "--as", "html", "-o", &report];
        let refused = command([&args[..], force].concat()).exits(2);
        assert!(refused.error().contains("is the input"), "{}", refused.err);
    }
    let dir = ran.folder.path().display().to_string();
    command(["report", &report, "--as", "html", "-o", &dir]).exits(0);
    assert!(ran.folder.join("report.html").is_file());
    let refused = command(["report", &report, "--as", "csv", "-o", "x.csv"]).exits(2);
    assert!(
        refused.error().contains("written to a folder"),
        "{}",
        refused.err
    );
    let link = ran.folder.join("link.html");
    std::os::unix::fs::symlink("report.html", &link).unwrap();
    let link_text = link.display().to_string();
    command([
        "report", &report, "--as", "markdown", "-o", &link_text, "--force",
    ])
    .exits(0);
    assert!(link.is_symlink(), "the link was replaced by a file");
    assert!(
        fs::read_to_string(ran.folder.join("report.html"))
            .unwrap()
            .starts_with("###")
    );
}

#[test]
fn a_file_is_overwritten_only_with_force() {
    let ran = run(["planted:registry"]).exits(1);
    let dir = ran.dir().display().to_string();
    let to = ran.folder.join("mine.html");
    fs::write(&to, "mine").unwrap();
    let to_text = to.display().to_string();
    let refused = command(["report", &dir, "--as", "html", "-o", &to_text]).exits(2);
    assert!(refused.error().contains("--force"), "{}", refused.err);
    assert_eq!(fs::read_to_string(&to).unwrap(), "mine");
    command(["report", &dir, "--as", "html", "-o", &to_text, "--force"]).exits(0);
    assert!(
        fs::read_to_string(&to)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    let refused = command(["report", &dir, "--as", "html,sarif"]).exits(2);
    assert!(refused.error().contains("-o DIR"), "{}", refused.err);
    let before = fs::read(ran.file("report.json")).unwrap();
    command(["report", &dir, "--as", "all", "-o", &dir]).exits(0);
    assert!(fs::read(ran.file("report.json")).unwrap() == before);
    let refused = command(["report", &dir, "--as", "html,sarif", "-o", &dir]).exits(2);
    assert!(
        refused.error().contains("--force overwrites it"),
        "{}",
        refused.err
    );
}

#[test]
fn paths_are_shown_with_another_prefix() {
    let ran = run(["planted:registry", "--remap", "fixtures/leaks=src/serving"]).exits(1);
    let site = ran.report().call_sites[0].clone();
    assert_eq!(site.location(), "src/serving/registry.rs:25");
    let dir = ran.dir().display().to_string();
    let shown = command([
        "report",
        &dir,
        "--as",
        "csv-call-sites",
        "--remap",
        "src/serving=x",
    ])
    .exits(0);
    assert!(shown.out.contains(",x/registry.rs,25,"), "{}", shown.out);
    let refused = command(["report", &dir, "--remap", "src"]).exits(2);
    assert!(refused.error().contains("FROM=TO"), "{}", refused.err);
}

#[test]
fn no_report_contains_the_path_of_the_home_folder() {
    let folder = Folder::new();
    let mut command = Command::new(afterdrop());
    // A folder above that of the program, as if it had been built in the home folder.
    let home = afterdrop().ancestors().nth(2).unwrap();
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
        run(["planted:lru"]).exits(0),
        run(["planted:registry"]).exits(1),
    );
    // As if the leak had been fixed: a clean report under the same name.
    let path = clean.file("report.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("planted:lru", "planted:registry")).unwrap();
    let dirs = [&clean, &leak].map(|ran| ran.dir().display().to_string());
    let [clean, leak] = dirs.each_ref().map(String::as_str);
    let compare = |args: &[&str]| command([&["compare"], args].concat());
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
fn the_schema_the_manual_and_the_completions_are_printed() {
    let schema = command(["schema"]).exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.out).unwrap();
    assert_eq!(schema["type"], "object");
    assert!(command(["man"]).exits(0).out.contains(".TH"));
    assert!(command(["man", "run"]).exits(0).out.contains("sample"));
    assert!(command(["man", "rum"]).exits(2).error().contains("`run`"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            command(["completions", shell])
                .exits(0)
                .out
                .contains("strategies")
        );
    }
}

#[test]
fn colours_are_used_only_if_requested() {
    let ran = run(["planted:lru", "--color", "always"]).exits(0);
    assert!(ran.out.contains("\u{1b}[1m"), "{}", ran.out);
    let ran = run(["planted:lru", "--color=never"]).exits(0);
    assert!(!ran.out.contains('\u{1b}'));
    let dir = ran.dir().display().to_string();
    let shown = command(["--color", "always", "report", &dir]).exits(0);
    assert!(shown.out.contains('\u{1b}'));
}

#[rstest]
#[case::no_schema("{}", "no schema")]
#[case::another_schema("{\"schema\": \"afterdrop/9\"}", "run it again with this version")]
#[case::a_missing_field("{\"schema\": \"afterdrop/2\"}", "missing field")]
#[case::cut_off("{\"schema\"", "the file is truncated")]
#[case::another_document("[1]", "not a report")]
fn a_file_that_is_not_a_report_is_refused(#[case] text: &str, #[case] says: &str) {
    let folder = Folder::new();
    let path = folder.join("report.json");
    fs::write(&path, text).unwrap();
    let refused = command(["report", &path.display().to_string()]).exits(2);
    assert!(refused.error().contains(says), "{}", refused.err);
}

/// The strings of a JSON value, each by the names of the fields that lead to it.
fn string_fields(value: &serde_json::Value, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(_) => {
            fields.insert(path.to_owned());
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|v| string_fields(v, path, fields));
        }
        serde_json::Value::Object(values) => values
            .iter()
            .for_each(|(name, v)| string_fields(v, &format!("{path}.{name}"), fields)),
        _ => {}
    }
}

/// Puts escape sequences in front of the strings of a field.
fn poison(value: &mut serde_json::Value, path: &str, field: &str) {
    match value {
        serde_json::Value::String(text) if path == field => {
            text.insert_str(0, "\u{1b}[2J\u{1b}]0;title\u{7}");
        }
        serde_json::Value::Array(values) => {
            values.iter_mut().for_each(|v| poison(v, path, field));
        }
        serde_json::Value::Object(values) => values
            .iter_mut()
            .for_each(|(name, v)| poison(v, &format!("{path}.{name}"), field)),
        _ => {}
    }
}

#[test]
fn no_text_of_a_foreign_report_reaches_the_terminal_as_an_escape_sequence() {
    let folder = Folder::new();
    let path = folder.join("report.json");
    let ran = run(["planted:registry"]).exits(1);
    let stored = fs::read_to_string(ran.file("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let mut fields = BTreeSet::new();
    string_fields(&report, "", &mut fields);
    assert!(fields.len() > 20, "{fields:?}");
    for field in &fields {
        let mut foreign = report.clone();
        poison(&mut foreign, "", field);
        fs::write(&path, foreign.to_string()).unwrap();
        let file = path.to_str().unwrap();
        for args in [
            &["report", file][..],
            &["explain", file],
            &["compare", file, file],
        ] {
            let ran = command(args);
            let shown = format!("{}{}", ran.out, ran.err);
            let hidden = |c: char| c.is_control() && c != '\n';
            assert!(!shown.contains(hidden), "{field} in {args:?}: {shown:?}");
        }
    }
}
