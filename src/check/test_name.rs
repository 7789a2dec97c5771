//! Finds the name of the running test.

use std::backtrace::Backtrace;

/// The test that a check is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    /// Whether a test harness runs it. If not, the program's `main` runs all checks, and the name is
    /// only that of the function.
    pub(super) has_harness: bool,
}

/// The running test. `closure` is the type name of the check's closure.
///
/// libtest gives the thread the name of the test, unless it runs the tests one by one on the main
/// thread. Then the name is taken from the `--exact` argument, which cargo-nextest passes, else from the
/// backtrace, which has the function that libtest called. The last resort is the path of the closure,
/// which starts with that of the function around it.
pub(super) fn running_test(closure: &str) -> Test {
    let thread = std::thread::current();
    let named = match thread.name() {
        None | Some("main") => from_arguments(
            // A name that is not UTF-8 is no test's.
            std::env::args_os()
                .skip(1)
                .filter_map(|argument| argument.into_string().ok()),
        )
        .or_else(|| from_backtrace(&Backtrace::force_capture().to_string())),
        Some(name) => Some(name.to_owned()),
    };
    Test {
        has_harness: named.is_some(),
        name: named.unwrap_or_else(|| function_path(closure)),
    }
}

/// The only test that libtest's arguments select with `--exact`; `None` if they select several.
fn from_arguments(mut args: impl Iterator<Item = String>) -> Option<String> {
    const WITH_VALUE: [&str; 7] = [
        "--skip",
        "--format",
        "--color",
        "--logfile",
        "--test-threads",
        "--shuffle-seed",
        "-Z",
    ];
    let (mut exact, mut names) = (false, Vec::new());
    while let Some(arg) = args.next() {
        if WITH_VALUE.contains(&arg.as_str()) {
            args.next();
        } else if arg == "--exact" {
            exact = true;
        } else if !arg.starts_with('-') {
            names.push(arg);
        }
    }
    match <[String; 1]>::try_from(names) {
        Ok([name]) if exact => Some(name),
        _ => None,
    }
}

/// The path of the function that libtest called; `None` if there is none. The backtrace is text with
/// the innermost frame first.
fn from_backtrace(backtrace: &str) -> Option<String> {
    let functions: Vec<&str> = backtrace
        .lines()
        .filter_map(|line| line.trim_start().split_once(": "))
        .filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()))
        .map(|(_, function)| function)
        .collect();
    let harness = functions
        .iter()
        .position(|f| f.starts_with("test::__rust_begin_short_backtrace"))?;
    let called = functions[..harness].iter().rev();
    let test = called
        .copied()
        .find(|f| !f.starts_with("core::") && !f.starts_with('<'))?;
    Some(function_path(test)).filter(|path| !path.is_empty())
}

/// The path of a function or closure without its crate and its closures: `tests::name` for
/// `krate::tests::name::{{closure}}`.
fn function_path(type_name: &str) -> String {
    let parts = type_name.split("::").skip(1);
    let named: Vec<&str> = parts.take_while(|p| !p.starts_with("{{")).collect();
    named.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::any::type_name;

    #[test]
    fn a_closure_is_in_the_function_of_its_test() {
        assert_eq!(
            function_path("krate::tests::name::{{closure}}"),
            "tests::name"
        );
        assert_eq!(
            function_path("krate::name::{{closure}}::{{closure}}"),
            "name"
        );
        let closure = || ();
        fn name_of<F>(_: &F) -> String {
            function_path(type_name::<F>())
        }
        assert_eq!(
            name_of(&closure),
            "check::test_name::tests::a_closure_is_in_the_function_of_its_test"
        );
    }

    #[test]
    fn exact_arguments_name_the_test_if_they_select_only_one() {
        let named = |args: &str| from_arguments(args.split(' ').map(str::to_owned));
        assert_eq!(named("a::b --exact --nocapture"), Some("a::b".into()));
        assert_eq!(
            named("--test-threads 1 --exact a --skip b"),
            Some("a".into())
        );
        assert_eq!(named("a"), None);
        assert_eq!(named("a b --exact"), None);
    }

    #[test]
    fn a_backtrace_names_the_function_that_libtest_called() {
        let backtrace = "   0: std::backtrace::Backtrace::create\n   3: krate::helper::{{closure}}\n\
                         \x20            at ./tests/a.rs:7:5\n   4: krate::cases::case_2::{{closure}}\n\
                         \x20  5: core::ops::function::FnOnce::call_once\n\
                         \x20  6: test::__rust_begin_short_backtrace\n   7: main\n";
        assert_eq!(from_backtrace(backtrace), Some("cases::case_2".into()));
        assert_eq!(from_backtrace("   0: main\n"), None);
    }
}
