//! Which test a check stands in, and the folder it writes to.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::error::Error;
use crate::base::names::fnv;
use crate::measure::child;

/// The test that a check stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    /// A harness runs it beside others. If not, the program's `main` makes all checks, and the
    /// name is only that of the function.
    pub(super) is_harnessed: bool,
}

/// The running test.
///
/// libtest names the thread after it, unless it runs tests one by one on the main thread. Then the
/// arguments may say it (nextest's do), or the stack: the harness called the test's function. Last,
/// there is the closure's own path, which is that of the function it is written in.
pub(super) fn running_test(closure: &str) -> Test {
    let thread = std::thread::current();
    let named = match thread.name() {
        None | Some("main") => asked_for(std::env::args().skip(1))
            .or_else(|| called_by_harness(&Backtrace::force_capture().to_string())),
        Some(name) => Some(name.to_owned()),
    };
    Test {
        is_harnessed: named.is_some(),
        name: named.unwrap_or_else(|| path_of_closure(closure)),
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
    let executable = program.file_stem().unwrap_or_default().to_string_lossy();
    let below = |base: &Path, executable: &str| -> Result<PathBuf, Error> {
        let folder = unshared(&base.join(slug(executable)), &slug(test))?.join(slug(key));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| Error::io("make the folder", &folder, e))?;
        Ok(folder)
    };
    // A target folder that cannot be written to is no reason to fail.
    let beside = target_of(&program).map(|target| below(&target.join("afterdrop"), &executable));
    if let Some(Ok(folder)) = beside {
        return Ok(folder);
    }
    // Elsewhere programs of one name may be of different projects, and of different people.
    let user = fs::metadata("/proc/self").map_or(0, |m| m.uid());
    let base = std::env::temp_dir().join(format!("afterdrop-{user}"));
    let project = std::env::current_dir().unwrap_or_default();
    below(&base, &format!("{executable} in {}", project.display()))
}

/// The target folder that cargo built a program into: cargo marks it.
fn target_of(program: &Path) -> Option<PathBuf> {
    // `target/<triple>/<profile>/deps/<program>` is the deepest.
    let mut folders = program.ancestors().skip(1).take(4);
    let target = folders.find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map(Path::to_owned)
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

/// Letters of a name that its part of a path keeps.
const LONGEST: usize = 60;

/// A name as one harmless part of a path. Names that differ stay different: what had to change is
/// followed by a hash.
fn slug(name: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    // The parts of a path of modules read well enough with dashes.
    let plain = name.replace("::", "--");
    let mut slug: String = plain.chars().take(LONGEST).collect();
    if slug.is_empty() || slug != plain || !slug.chars().all(harmless) {
        slug = slug
            .chars()
            .map(|c| if harmless(c) { c } else { '-' })
            .collect();
        slug += &format!("-{:08x}", fnv(name.as_bytes()) as u32);
    }
    slug
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
        assert_eq!(slug("a::b_c"), "a--b_c");
        let odd = [
            "",
            "a b",
            "a-b",
            "a/b",
            "a:b",
            "../d",
            "ä\u{1b}",
            &"x".repeat(300),
        ];
        let mut slugs: Vec<String> = odd.iter().map(|name| slug(name)).collect();
        assert!(slugs.iter().all(|s| s.len() < 80 && !s.is_empty()));
        assert!(slugs.iter().all(|s| !s.contains(['/', '.', ' ', '\u{1b}'])));
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), odd.len());
    }
}
