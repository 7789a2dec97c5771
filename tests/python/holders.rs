//! What holds the objects that stay, and by which names.

use afterdrop::Verdict;
use afterdrop::report::{Holder, HolderKind, Rule, RunVerdict};
use rstest::rstest;

use crate::{exec, planted, script, stepped};

/// The steps of a path: how the object is reached, and its type.
fn steps(holder: &Holder) -> Vec<(&str, &str)> {
    let blocks = holder.path.iter();
    blocks
        .map(|block| {
            let (via, what) = (block.via.as_deref(), block.what.as_deref());
            (via.unwrap_or_default(), what.unwrap_or_default())
        })
        .collect()
}

/// `name` without the number in it, which is that of any of the blocks.
fn without_number(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[rstest]
#[case("list_in_module.py", &[(".kept", "list"), ("[]", "bytes")])]
#[case("dict_by_key.py", &[(".sessions", "dict"), ("[]", "Session")])]
#[case("closure.py", &[
    (".handlers", "list"), ("[]", "function"), (".__closure__", "tuple"), ("[]", "cell"), (".cell_contents", "bytes"),
])]
#[case("bound_method.py", &[
    (".callbacks", "list"), ("[]", "method"), (".__self__", "Model"), (".weights", "bytes"),
])]
#[case("unbounded_lru_cache.py", &[
    (".tokenize", "functools._lru_cache_wrapper"), ("", "dict"), ("[]", "bytes"),
])]
#[case("waiting_generator.py", &[(".generators", "list"), ("[]", "generator"), ("buffer", "bytes")])]
#[case("attributes.py", &[
    (".server", "Server"), (".registry", "Registry"), (".entries", "dict"), ("['model ']", "bytes"),
])]
#[case("instance_dict.py", &[
    (".server", "Server"), (".models", "dict"), ("['model ']", "bytes"),
])]
fn a_module_holds_a_leak_by_the_names_of_its_objects(
    #[case] name: &str,
    #[case] expected: &[(&str, &str)],
) {
    let report = stepped(name).exits(1).report();
    let holder = planted(&report, name).holder.as_ref().expect("a holder");
    assert_eq!(holder.kind, HolderKind::Module, "{report}");
    assert_eq!(holder.name.as_deref(), Some("__main__"));
    let steps = steps(holder);
    let steps: Vec<(String, &str)> = steps
        .iter()
        .map(|(via, what)| (without_number(via), *what))
        .collect();
    let expected: Vec<(String, &str)> = expected
        .iter()
        .map(|(via, what)| ((*via).to_owned(), *what))
        .collect();
    assert_eq!(steps, expected);
}

#[test]
fn a_thread_local_holds_what_a_thread_keeps() {
    let name = "thread_local.py";
    let report = stepped(name).exits(1).report();
    let holder = planted(&report, name).holder.as_ref().expect("a holder");
    assert_eq!(
        (holder.kind, holder.name.as_deref()),
        (HolderKind::Module, Some("__main__"))
    );
    let steps = steps(holder);
    assert_eq!(
        steps.first(),
        Some(&(".local", "_thread._local")),
        "{report}"
    );
    assert!(
        steps.contains(&("['kept']", "list")) || steps.contains(&(".kept", "list")),
        "{steps:?}"
    );
}

#[test]
fn a_running_function_holds_what_its_local_variable_has() {
    let name = "local_variable.py";
    let report = stepped(name).exits(1).report();
    let holder = planted(&report, name).holder.as_ref().expect("a holder");
    assert_eq!(
        (holder.kind, holder.name.as_deref()),
        (HolderKind::Stack, Some("serve")),
        "{report}"
    );
    assert!(
        holder
            .file
            .as_deref()
            .is_some_and(|file| file.ends_with(name))
    );
    assert_eq!(holder.line, Some(11));
    let steps = steps(holder);
    assert_eq!(steps.first(), Some(&("requests", "list")));
}

#[test]
fn an_object_with_a_reference_that_nothing_has_is_lost() {
    let name = "reference_not_dropped.py";
    let report = stepped(name).exits(1).report();
    let site = planted(&report, name);
    let holder = site.holder.as_ref().expect("a holder");
    assert_eq!(holder.kind, HolderKind::Lost, "{report}");
    assert_eq!(steps(holder), [("", "Model"), (".weights", "bytes")]);
    let shown = report.to_string();
    assert!(
        shown.contains("held only by a block that nothing points at"),
        "{shown}"
    );
}

#[test]
fn what_waits_for_the_collector_is_no_leak() {
    let name = "garbage.py";
    let report = stepped(name).exits(4).report();
    assert_eq!(report.verdict, RunVerdict::Undecided, "{report}");
    let site = planted(&report, name);
    assert_eq!(
        (site.verdict, site.evidence.rule),
        (Verdict::Undecided, Rule::Garbage)
    );
    assert_eq!(
        site.holder.as_ref().map(|holder| holder.kind),
        Some(HolderKind::Garbage)
    );
    let reason = &site.reason;
    assert!(
        reason.contains("has not come for") && reason.contains("--collect"),
        "{reason}"
    );
}

/// The hash of a number is the number.
#[test]
fn an_address_that_is_a_key_holds_nothing() {
    let name = "keys_by_address.py";
    let report = stepped(name).exits(1).report();
    let site = planted(&report, name);
    assert_eq!(site.verdict, Verdict::Undecided, "{report}");
    assert_eq!(
        site.holder.as_ref().map(|holder| holder.kind),
        Some(HolderKind::Garbage)
    );
}

#[test]
fn garbage_is_collected_at_marks_if_asked_to() {
    let script = script("garbage.py");
    let options = ["--collect", "--cycle-at", "call:step"];
    let report = exec(&options, &[script.to_str().unwrap()])
        .exits(0)
        .report();
    assert_eq!(report.verdict, RunVerdict::Clean, "{report}");
}
