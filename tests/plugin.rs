//! A shared library with a `Heap` of its own, which a program without one opens and closes again.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;

/// The path of the library, in the environment of the program.
const LIBRARY: &str = "PLUGIN";

/// Builds the library with the features of this test that are quick to build, and returns its path.
fn library() -> PathBuf {
    let features = [
        ("cli", cfg!(feature = "cli")),
        ("formats", cfg!(feature = "formats")),
        ("jemalloc-dlopen", cfg!(feature = "jemalloc")),
        ("dhat", cfg!(feature = "dhat")),
        ("planted", cfg!(feature = "planted")),
        ("compressed-debug", cfg!(feature = "compressed-debug")),
    ];
    let features = features.iter().filter(|f| f.1).map(|f| f.0);
    let features = features.collect::<Vec<_>>().join(",");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--example", "plugin", "--features", &features])
        .args(["--message-format", "json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let messages = String::from_utf8(output.stdout).unwrap();
    let path = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let is_library = message["target"]["name"] == "plugin";
        is_library.then(|| message["filenames"][0].as_str().map(PathBuf::from))?
    });
    path.expect("cargo names what it has built")
}

/// Runs the program, whose recorder is turned on if `heap` is the name of an allocator.
fn closes_the_library(heap: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opens_and_closes_a_library", "--include-ignored"])
        .env(LIBRARY, library())
        .env("AFTERDROP_HEAP", heap)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
}

#[test]
fn a_library_with_a_heap_can_be_closed() {
    closes_the_library("");
}

#[test]
fn a_library_with_a_heap_that_records_can_be_closed() {
    closes_the_library("system");
}

/// Opens the library, allocates in it in another thread, and closes it before that thread ends.
#[test]
#[ignore = "run by the other tests of this file, with the library"]
fn opens_and_closes_a_library() {
    let path = PathBuf::from(std::env::var_os(LIBRARY).unwrap());
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the names end in null bytes, `fixtures/plugin.rs` defines the function with this type, and
    // a message of `dlerror` ends in a null byte.
    let (handle, work) = unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        let work = libc::dlsym(handle, c"work".as_ptr());
        let work = std::mem::transmute::<*mut libc::c_void, Option<extern "C" fn()>>(work);
        (handle, work.unwrap())
    };
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(path.to_str().unwrap())
    };
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            work();
            barrier.wait();
            barrier.wait();
        });
        barrier.wait();
        assert!(is_mapped());
        // jemalloc cannot withdraw what the C library is to call when this thread ends.
        if cfg!(not(feature = "jemalloc")) {
            // SAFETY: the handle is open, and the thread does not call the library any more.
            assert_eq!(unsafe { libc::dlclose(handle) }, 0);
            assert!(!is_mapped());
        }
        barrier.wait();
    });
}
