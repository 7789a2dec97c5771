//! What this library does when the loader has loaded it, and when the process exits.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::exec::{ENV_EXEC, ExecPlan, Marks, PROCESS_FILE, PROCESSES, ProcessRecord};
use crate::model::plan::{Plan, Subject};
use crate::model::run::{HeapKind, Strategy};
use crate::recorder::{heap, privileges};
use crate::{openings, session, symbols};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn start() {
    let _paused = heap::pause();
    match received_plan().map(|plan| plan.and_then(begin)) {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            heap::stop_recording();
            eprintln!("afterdrop: cannot record this process: {error}");
        }
        None => heap::stop_recording(),
    }
}

extern "C" fn end() {
    openings::end();
    session::end();
}

/// The plan of the command; `None` if this process is not to be measured.
fn received_plan() -> Option<io::Result<ExecPlan>> {
    if privileges::were_gained() {
        return None;
    }
    let text = std::env::var(ENV_EXEC).ok()?;
    Some(serde_json::from_str(&text).map_err(io::Error::other))
}

fn begin(plan: ExecPlan) -> io::Result<()> {
    let folder = create_folder(&plan.out.join(PROCESSES))?;
    let record = ProcessRecord {
        pid: std::process::id(),
        parent: std::os::unix::process::parent_id(),
        arguments: arguments()?,
        foreign_malloc: foreign_malloc(),
    };
    fs::write(folder.join(PROCESS_FILE), serde_json::to_vec(&record)?)?;
    if let Some(every) = plan.sample_every {
        heap::record_samples(every);
    }
    session::begin(Plan {
        subject: Subject::Program {
            command: record.arguments.join(" "),
        },
        heap: HeapKind::System,
        strategy: Strategy::Fresh,
        cycles: plan.cycles,
        warmup: plan.warmup,
        horizon: plan.horizon,
        auto: None,
        holders: plan.holders,
        out: folder.clone(),
        replies: None,
    })?;
    let pattern = match &plan.marks {
        Marks::Open(pattern) => Some(pattern.clone()),
        _ => None,
    };
    symbols::CALLS_ARE_MARKS.store(
        plan.marks == Marks::Call,
        std::sync::atomic::Ordering::Relaxed,
    );
    openings::watch(pattern, folder);
    match plan.marks {
        Marks::Every(milliseconds) => mark_every(Duration::from_millis(milliseconds)),
        _ => Ok(()),
    }
}

/// Creates the folder of this process. One process may execute several programs, one after another.
fn create_folder(processes: &std::path::Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let folder = processes.join(format!("{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The arguments of this program, the first of which is its name.
fn arguments() -> io::Result<Vec<String>> {
    let text = fs::read("/proc/self/cmdline")?;
    let text = text.strip_suffix(b"\0").unwrap_or(&text);
    let arguments = text.split(|&byte| byte == 0);
    Ok(arguments
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect())
}

/// The file with a `malloc` that is found before that of this library; `None` if there is none.
fn foreign_malloc() -> Option<String> {
    // SAFETY: the name ends in a null byte.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) };
    // Not the address of the function: inside of this library it is that of the one that is found.
    let own = object_of(foreign_malloc as *const libc::c_void)?;
    let object = object_of(found)?;
    if object.dli_fbase == own.dli_fbase {
        return None;
    }
    if object.dli_fname.is_null() {
        return Some("an unknown file".into());
    }
    // SAFETY: the loader's name of a loaded object, which ends in a null byte.
    let name = unsafe { CStr::from_ptr(object.dli_fname) };
    Some(name.to_string_lossy().into_owned())
}

/// The loaded object that an address is in.
fn object_of(address: *const libc::c_void) -> Option<libc::Dl_info> {
    // SAFETY: `Dl_info` is a C struct of pointers, for which zero is a valid value.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: fills a local variable of the right type.
    let is_known = unsafe { libc::dladdr(address, &mut info) } != 0;
    is_known.then_some(info)
}

/// Marks a cycle whenever this time has passed.
fn mark_every(interval: Duration) -> io::Result<()> {
    let marks = move || {
        loop {
            std::thread::sleep(interval);
            session::mark();
        }
    };
    std::thread::Builder::new()
        .name("afterdrop".into())
        .spawn(marks)
        .map(drop)
}
