//! The workloads.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::RefCell;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use afterdrop::Failure;
use afterdrop::workloads::Entry;

/// All workloads.
pub fn all() -> Vec<Entry> {
    let mut all = that_end();
    all.extend(that_complete());
    all
}

/// A workload by what its cycles do. The first cycle is 1.
fn entry(name: &str, what: fn(u32) -> Result<(), Failure>) -> Entry {
    let mut cycle = 0;
    Entry::from_fn(name, "", move || {
        cycle += 1;
        what(cycle)?;
        Ok(|| Ok(vec![1.0]))
    })
}

/// Workloads that end the run.
fn that_end() -> Vec<Entry> {
    vec![
        entry("fails", |cycle| match cycle {
            7 => Err("the model file is gone".into()),
            _ => Ok(()),
        }),
        entry("fails-at-once", |_| Err("no such model".into())),
        entry("panics", |cycle| {
            assert!(cycle < 7, "weights do not fit");
            Ok(())
        }),
        entry("aborts", |cycle| {
            if cycle == 7 {
                eprintln!("out of luck");
                std::process::abort();
            }
            Ok(())
        }),
        entry("is-killed", |cycle| {
            if cycle == 7 {
                // SAFETY: `raise` has no preconditions.
                unsafe { libc::raise(libc::SIGKILL) };
            }
            Ok(())
        }),
        entry("hangs", hang_in_cycle_7),
        entry("hangs-as-another-user", |cycle| {
            if cycle == 2 {
                change_user();
            }
            hang_in_cycle_7(cycle)
        }),
        entry("leaves-a-daemon", |cycle| {
            if cycle == 2 {
                start_daemon()?;
            }
            hang_in_cycle_7(cycle)
        }),
        entry("exits", |cycle| {
            if cycle == 7 {
                std::process::exit(0);
            }
            Ok(())
        }),
    ]
}

/// Workloads that let the run complete.
fn that_complete() -> Vec<Entry> {
    vec![
        entry("catches-panics", |_| {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            Ok(())
        }),
        entry("layouts", |_| {
            layouts();
            Ok(())
        }),
        entry("threads", |cycle| {
            threads(cycle);
            Ok(())
        }),
        entry("forks", |_| fork()),
        entry("prints", |cycle| {
            println!("cycle {cycle}");
            Ok(())
        }),
        entry("deep", |cycle| {
            deep(cycle, 300);
            Ok(())
        }),
        entry("leaks", |_| {
            leak();
            Ok(())
        }),
        entry("blocks-a-file", |cycle| {
            leak();
            match cycle {
                1 => block_file(),
                _ => Ok(()),
            }
        }),
        entry("leaks-in-a-library", |_| leak_in_a_library()),
        entry("returns-in-the-copy", |_| {
            // SAFETY: the process has one thread, so that the copy may do all that this one may.
            unsafe { libc::fork() };
            Ok(())
        }),
        entry("takes-descriptors", |cycle| match cycle {
            2 => take_descriptors(),
            _ => Ok(()),
        }),
        entry("gives-up-rights", |cycle| {
            if cycle == 2 {
                // SAFETY: `setuid` has no preconditions.
                assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
            }
            Ok(())
        }),
        entry("is-measured", |_| Ok(())),
    ]
}

extern "C" fn leak() {
    std::mem::forget(vec![0_u8; 77]); // LEAK
}

/// The file that `blocks-a-file` puts a folder in the place of.
pub const ENV_BLOCKED: &str = "HOSTILE_BLOCKED";

/// Makes a folder with a file in it where the command will write a file.
fn block_file() -> Result<(), Failure> {
    let file = std::env::var_os(ENV_BLOCKED).ok_or("no file")?;
    let file = std::path::Path::new(&file);
    assert!(file.parent().is_some_and(|folder| folder.is_dir()));
    std::fs::create_dir(file)?;
    Ok(std::fs::write(file.join("file"), "")?)
}

/// The path of a shared library with a function that calls its argument.
pub const ENV_LIBRARY: &str = "HOSTILE_LIBRARY";

fn leak_in_a_library() -> Result<(), Failure> {
    let path = std::env::var_os(ENV_LIBRARY).unwrap();
    let path = CString::new(path.into_vec()).unwrap();
    // SAFETY: both names end in a null byte. The library has no constructors, and its function `call`
    // has this type.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        let call = libc::dlsym(library, c"call".as_ptr());
        if call.is_null() {
            return Err("the library cannot be loaded".into());
        }
        let call: extern "C" fn(extern "C" fn()) = std::mem::transmute(call);
        call(leak);
    }
    Ok(())
}

fn hang_in_cycle_7(cycle: u32) -> Result<(), Failure> {
    while std::hint::black_box(cycle) == 7 {
        std::thread::park();
    }
    Ok(())
}

/// Changes the user, if this is root. The kernel then forgets the signal that it is to send at the death
/// of the parent. For other users this has the same effect without the change.
fn change_user() {
    // SAFETY: the calls have no preconditions; the last one writes `signal`.
    let signal = unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setuid(NOBODY), 0);
        } else {
            libc::prctl(libc::PR_SET_PDEATHSIG, 0);
        }
        let mut signal: libc::c_int = -1;
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal);
        signal
    };
    assert_eq!(signal, 0);
}

/// The ID of the daemon that `leaves-a-daemon` starts is written to the file that this variable names.
pub const ENV_DAEMON: &str = "HOSTILE_DAEMON";

/// Starts a process that leaves the session and the process group, and whose parent ends.
fn start_daemon() -> Result<(), Failure> {
    let file = std::env::var_os(ENV_DAEMON).ok_or("no file")?;
    let script = "setsid sh -c 'echo $$ >\"$0\"; exec sleep 600' \"$0\" &";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(file)
        .status()?;
    assert!(status.success());
    Ok(())
}

/// A user that owns nothing.
pub const NOBODY: u32 = 65_534;

/// The files of `takes-descriptors` in the folder that this variable names.
pub const ENV_TAKEN: &str = "HOSTILE_TAKEN";

/// Closes all descriptors but the standard ones, and opens files of its own under their numbers.
fn take_descriptors() -> Result<(), Failure> {
    // SAFETY: nothing else in this function or in the workload uses a descriptor, and the recorder has to
    // cope with a program that does this.
    assert_eq!(unsafe { libc::close_range(3, 1000, 0) }, 0);
    let folder = std::path::PathBuf::from(std::env::var_os(ENV_TAKEN).ok_or("no folder")?);
    for n in 0..16 {
        std::mem::forget(std::fs::File::create(folder.join(n.to_string()))?);
    }
    Ok(())
}

/// Calls each function of the allocator with small and large layouts, and checks the contents.
fn layouts() {
    for size in [1, 7, 8, 16, 100, 4096, 5000, 1 << 20] {
        for align in [1, 2, 8, 16, 64, 4096, 1 << 16] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: no layout has size zero, each block is freed once, with the layout that it has
            // then, and all accesses are inside of it.
            unsafe {
                let at = alloc(layout);
                assert!(!at.is_null() && at.addr().is_multiple_of(align));
                at.write_bytes(7, size);
                let grown = realloc(at, layout, size * 3);
                assert!(grown.addr().is_multiple_of(align));
                assert!(
                    std::slice::from_raw_parts(grown, size)
                        .iter()
                        .all(|&b| b == 7)
                );
                let big = Layout::from_size_align(size * 3, align).unwrap();
                // To the same size, then to a smaller one.
                let same = realloc(grown, big, size * 3);
                let small = realloc(same, big, size.div_ceil(2));
                let rest = std::slice::from_raw_parts(small, size.div_ceil(2));
                assert!(rest.iter().all(|&b| b == 7));
                dealloc(
                    small,
                    Layout::from_size_align(size.div_ceil(2), align).unwrap(),
                );
                let zeroed = alloc_zeroed(layout);
                assert!(
                    std::slice::from_raw_parts(zeroed, size)
                        .iter()
                        .all(|&b| b == 0)
                );
                dealloc(zeroed, layout);
            }
        }
    }
}

/// Allocates while threads start and end, and frees blocks in another thread.
fn threads(cycle: u32) {
    struct Last(Vec<u8>);
    impl Drop for Last {
        fn drop(&mut self) {
            // The destructor of a thread-local is the last code that a thread runs.
            let more = vec![1_u8; self.0.len()];
            std::hint::black_box(more);
        }
    }
    thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let threads: Vec<_> = (0..4_usize)
        .map(|i| {
            std::thread::Builder::new()
                .name(format!("worker-{i}-{cycle}"))
                .spawn(move || {
                    LAST.with_borrow_mut(|l| *l = Some(Last(vec![0; 100 + i])));
                    (0..500)
                        .map(|n| vec![n as u8; n % 97 + 1])
                        .collect::<Vec<_>>()
                })
                .unwrap()
        })
        .collect();
    for thread in threads {
        // Frees here what the thread has allocated.
        drop(thread.join().unwrap());
    }
}

/// A forked child allocates, frees a block of its parent, and exits.
fn fork() -> Result<(), Failure> {
    let inherited = vec![3_u8; 1000];
    // Another thread allocates during the fork, so that it may hold a lock of the allocator.
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let busy = std::thread::spawn(move || {
        while !seen.load(Relaxed) {
            std::hint::black_box(vec![1_u8; 64]);
        }
    });
    // SAFETY: the child only allocates, frees and exits. After a fork of a process with threads that
    // is allowed, because the C library makes its own allocator usable in the child. `status` is a
    // local variable.
    let status = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            drop(inherited);
            let sum: usize = (0..1000).map(|n| vec![0_u8; n].len()).sum();
            libc::_exit(i32::from(sum != 499_500));
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        status
    };
    stop.store(true, Relaxed);
    busy.join().unwrap();
    if status == 0 {
        Ok(())
    } else {
        Err(format!("the forked child ended with status {status}").into())
    }
}

/// Leaks at the end of a stack that has more frames than the recorder keeps.
#[inline(never)]
fn deep(cycle: u32, depth: u32) -> u32 {
    if depth == 0 {
        std::mem::forget(vec![0_u8; 77]);
        return cycle;
    }
    std::hint::black_box(deep(cycle, depth - 1)) + 1
}
