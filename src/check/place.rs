//! Which test a check stands in, and the folder it writes to.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::child;
use crate::error::Error;

/// The name of the running test.
///
/// libtest names the thread after it, unless it runs tests one by one on the main thread. Then the
/// arguments may say it (nextest's do), or the stack: the harness called the test's function. Last,
/// there is the closure's own path, which is that of the function it is written in.
pub(super) fn test_name(closure: &str) -> String {
    let thread = std::thread::current();
    match thread.name() {
        None | Some("main") => asked_for(std::env::args().skip(1))
            .or_else(|| called_by_harness(&Backtrace::force_capture().to_string()))
            .unwrap_or_else(|| path_of_closure(closure)),
        Some(name) => name.to_owned(),
    }
}

/// The one test that libtest's arguments ask for with `--exact`.
fn asked_for(mut args: impl Iterator<Item = String>) -> Option<String> {
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

/// The function that libtest called, by the text of a backtrace, innermost frame first.
fn called_by_harness(backtrace: &str) -> Option<String> {
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
    Some(path_of_closure(test)).filter(|path| !path.is_empty())
}

/// `krate::tests::name::{{closure}}` without the crate and the closures.
pub(super) fn path_of_closure(type_name: &str) -> String {
    let parts = type_name.split("::").skip(1);
    let named: Vec<&str> = parts.take_while(|p| !p.starts_with("{{")).collect();
    named.join("::")
}

/// The folder of a check: below the target folder of the executable, else the temporary one. What
/// an earlier run left there is the tool's own and goes.
pub(crate) fn folder_of(test: &str, key: &str) -> Result<PathBuf, Error> {
    let program = child::this_program()?;
    let target = program
        .ancestors()
        .find(|a| {
            a.file_name()
                .is_some_and(|n| n == "deps" || n == "examples")
        })
        .and_then(|deps| deps.parent()?.parent());
    let base = match target {
        Some(target) => target.join("afterdrop"),
        None => std::env::temp_dir().join("afterdrop"),
    };
    let executable = program.file_stem().unwrap_or_default().to_string_lossy();
    let folder = unshared(&base.join(slug(&executable)), &slug(test))?.join(slug(key));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|e| Error::io("make the folder", &folder, e))?;
    Ok(folder)
}

/// A folder that no other running process of this executable uses: it is this process's until its
/// end, for all checks of the test.
fn unshared(parent: &Path, test: &str) -> Result<PathBuf, Error> {
    static LOCKS: Mutex<BTreeMap<PathBuf, Lock>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let first = parent.join(test);
    if let Some(held) = locks.get(&first) {
        return Ok(held.folder.clone());
    }
    fs::create_dir_all(parent).map_err(|e| Error::io("make the folder", parent, e))?;
    let mut folder = first.clone();
    for n in 2.. {
        let path = folder.with_extension("lock");
        let file = File::create(&path).map_err(|e| Error::io("make", &path, e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => folder = parent.join(format!("{test}-{n}")),
            // A file system without locks is one where nothing better can be done.
            Ok(()) | Err(TryLockError::Error(_)) => {
                let lock = Lock {
                    folder: folder.clone(),
                    _file: file,
                };
                locks.insert(first, lock);
                break;
            }
        }
    }
    Ok(folder)
}

/// A folder, and the file whose lock says that it is in use.
struct Lock {
    folder: PathBuf,
    _file: File,
}

/// A name that is one harmless part of a path.
pub(super) fn slug(name: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    name.chars()
        .map(|c| if harmless(c) { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::any::type_name;

    #[test]
    fn a_test_is_named_after_its_closure() {
        assert_eq!(
            path_of_closure("krate::tests::name::{{closure}}"),
            "tests::name"
        );
        assert_eq!(
            path_of_closure("krate::name::{{closure}}::{{closure}}"),
            "name"
        );
        let closure = || ();
        fn name_of<F>(_: &F) -> String {
            path_of_closure(type_name::<F>())
        }
        assert_eq!(
            name_of(&closure),
            "check::place::tests::a_test_is_named_after_its_closure"
        );
    }

    #[test]
    fn a_test_is_named_by_the_arguments_that_ask_for_it_alone() {
        let asked = |args: &str| asked_for(args.split(' ').map(str::to_owned));
        assert_eq!(asked("a::b --exact --nocapture"), Some("a::b".into()));
        assert_eq!(
            asked("--test-threads 1 --exact a --skip b"),
            Some("a".into())
        );
        assert_eq!(asked("a"), None);
        assert_eq!(asked("a b --exact"), None);
    }

    #[test]
    fn a_test_is_named_by_the_function_that_the_harness_called() {
        let backtrace = "   0: std::backtrace::Backtrace::create\n   3: krate::helper::{{closure}}\n\
                         \x20            at ./tests/a.rs:7:5\n   4: krate::cases::case_2::{{closure}}\n\
                         \x20  5: core::ops::function::FnOnce::call_once\n\
                         \x20  6: test::__rust_begin_short_backtrace\n   7: main\n";
        assert_eq!(called_by_harness(backtrace), Some("cases::case_2".into()));
        assert_eq!(called_by_harness("   0: main\n"), None);
    }

    #[test]
    fn a_slug_is_one_part_of_a_path() {
        assert_eq!(slug("a::b/c ../d"), "a--b-c----d");
    }
}
