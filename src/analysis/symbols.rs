//! From return addresses to functions, files and lines, inlined frames included; and the *blame
//! frame*: the one that a person would go and edit.
//!
//! `addr2line` reads the DWARF of the measured executable and of the shared objects it used. It
//! was taken over blazesym because it is the smaller tree (no second unwinder, no C), is what the
//! standard library itself uses, and gives inlined frames with columns of the same crate family
//! (gimli, object).

use crate::model::frame::Frame;
use crate::model::frame::Owner;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::analysis::binary::Binary;
use crate::analysis::sources::Sources;
use crate::model::journal::Code;
use crate::model::layout::WORKLOADS;

/// Looks addresses up in the files that were mapped in the measured process.
#[derive(Default)]
pub(crate) struct Symbolizer {
    /// Mapped code, each with the number of its file; `None` where that could not be read.
    code: Vec<(Code<String>, Option<usize>)>,
    by_path: HashMap<String, Option<usize>>,
    binaries: Vec<Binary>,
    sources: Sources,
    known: HashMap<u64, Vec<Frame>>,
    /// Files of modules that were looked for: each takes a look through all functions.
    modules: RefCell<HashMap<String, Option<Vec<String>>>>,
}

impl Symbolizer {
    /// Takes more mapped code in, and reads its file. One that cannot be read leaves its frames
    /// without names.
    pub(crate) fn learn(&mut self, code: &Code<String>) {
        let binaries = &mut self.binaries;
        let read = || {
            binaries.push(Binary::read(Path::new(&code.path))?);
            Some(binaries.len() - 1)
        };
        let file = *self.by_path.entry(code.path.clone()).or_insert_with(read);
        self.code.push((code.clone(), file));
    }

    /// The frames at a return address, innermost first: inlined ones, then the function itself.
    pub(crate) fn frames(&mut self, return_address: u64) -> &[Frame] {
        if !self.known.contains_key(&return_address) {
            let frames = self.look_up(return_address);
            self.known.insert(return_address, frames);
        }
        &self.known[&return_address]
    }

    /// Lines around a line of a file, as a frame has it: the number of the first, and the lines. `None` if
    /// the file cannot be read.
    pub(crate) fn excerpt(&self, file: &str, line: u32) -> Option<(u32, Vec<String>)> {
        self.sources.excerpt(file, line)
    }

    /// The frames of a stack, innermost first. Addresses outside all mapped code are left out.
    pub(crate) fn stack(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &address in addresses {
            frames.extend_from_slice(self.frames(address));
        }
        frames
    }

    /// Where a static is declared, by its demangled name: file and line. Line tables have no statics;
    /// its module's functions are in its file, and the file says where.
    pub(crate) fn static_place(&self, name: &str) -> Option<(String, u32)> {
        // The standard library's sources are seldom there, and nobody edits them.
        if CARRIERS.contains(&krate_of(name)) {
            return None;
        }
        let (mut module, own) = name.rsplit_once("::")?;
        let mut below = PathBuf::new();
        // A static of a function lies in the function's module, and a module without functions in a
        // file beside that of the one above.
        loop {
            let mut modules = self.modules.borrow_mut();
            let paths = modules.entry(module.to_owned()).or_insert_with(|| {
                let mut binaries = self.binaries.iter();
                binaries.find_map(|b| b.paths_of_module(module))
            });
            for path in paths.iter().flatten() {
                let near = files_below(Path::new(path), &below);
                let inside = below.iter().next().and_then(|i| i.to_str());
                let found = near
                    .iter()
                    .find_map(|file| Some((file, self.sources.line_of_static(file, own, inside)?)));
                if let Some((file, line)) = found {
                    return Some((placed(file).0, line));
                }
            }
            let last;
            (module, last) = module.rsplit_once("::")?;
            below = Path::new(last).join(below);
        }
    }

    fn look_up(&self, return_address: u64) -> Vec<Frame> {
        // The call is before the address that it returns to, maybe on another line.
        let call = return_address.wrapping_sub(1);
        let mut code = self.code.iter();
        let Some((code, file)) = code.find(|(c, _)| (c.start..c.end).contains(&call)) else {
            return Vec::new();
        };
        let mut frames = file
            .and_then(|i| {
                let binary = &self.binaries[i];
                let address = binary.address(call - code.start + code.offset)?;
                Some(frames_at(binary, &self.sources, address))
            })
            .unwrap_or_default();
        if frames.is_empty() {
            let file = Path::new(&code.path).file_name();
            frames.push(Frame {
                function: "??".into(),
                file: file.map(|f| f.to_string_lossy().into_owned()),
                line: None,
                owner: Owner::Standard,
            });
        }
        frames
    }
}

/// The frames at a virtual address of a file, inlined ones first.
fn frames_at(binary: &Binary, sources: &Sources, address: u64) -> Vec<Frame> {
    let symbol = || {
        let name = binary.symbol(address)?;
        Some(addr2line::demangle_auto(name.into(), None).into_owned())
    };
    let mut frames = Vec::new();
    let context = binary.context.as_ref();
    let found = context.and_then(|c| c.find_frames(address).skip_all_loads().ok());
    if let Some(mut found) = found {
        while let Ok(Some(frame)) = found.next() {
            let named = frame
                .function
                .and_then(|f| Some(f.demangle().ok()?.into_owned()));
            // Line tables name only inlined functions; the outer one has its symbol.
            let Some(name) = named.or_else(symbol) else {
                continue;
            };
            let location = frame.location.as_ref();
            let (path, line) = (location.and_then(|l| l.file), location.and_then(|l| l.line));
            let mut frame = frame_of(without_hash(&name), path, line);
            if let (Some(path), Some(file)) = (path, &frame.file) {
                sources.remember(file, path);
            }
            if let (Owner::Own, Some(path), Some(line)) = (frame.owner, path, line)
                && sources.is_attribute(path, line)
            {
                frame.owner = Owner::Generated;
            }
            frames.push(frame);
        }
    }
    if frames.is_empty() {
        frames.extend(symbol().map(|name| frame_of(without_hash(&name), None, None)));
    }
    frames
}

/// Files in which what lies in modules below that of a file may stand; the file itself first.
fn files_below(file: &Path, below: &Path) -> Vec<String> {
    let mut files = vec![file.to_owned()];
    if below.components().next().is_some() {
        let folder = file.parent().unwrap_or(Path::new(""));
        for base in [folder.to_owned(), file.with_extension("")] {
            let module = base.join(below);
            files.push(module.with_extension("rs"));
            files.push(module.join("mod.rs"));
        }
    }
    let text = files.into_iter().map(|f| f.to_string_lossy().into_owned());
    text.collect()
}

/// The name of a static or thread-local by its symbol, without what the compiler and `thread_local!`
/// have added.
pub(crate) fn static_name(symbol: &str) -> String {
    // `.llvm.1234` and `.0` behind a name that ends in `E`.
    let symbol = match symbol.rsplit_once('.') {
        Some((front, back)) if back.bytes().all(|b| b.is_ascii_digit()) => {
            front.strip_suffix(".llvm").unwrap_or(front)
        }
        _ => symbol,
    };
    let name = addr2line::demangle_auto(symbol.into(), None).into_owned();
    let mut name = without_hash(&name);
    const ADDED: [&str; 10] = [
        "VAL",
        "__RUST_STD_INTERNAL_VAL",
        "__RUST_STD_INTERNAL_INIT",
        "{{closure}}",
        "{{constant}}",
        "{closure#0}",
        "{closure#1}",
        "{constant#0}",
        "{K#0}",
        "__getit",
    ];
    while let Some((front, last)) = name.rsplit_once("::")
        && ADDED.contains(&last)
    {
        name = front;
    }
    name.to_owned()
}

/// A demangled name without the `::h0123456789abcdef` of the legacy scheme.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((front, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            front
        }
        _ => name,
    }
}

/// Where this crate was compiled; its files are below it.
const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// A path without `.` and `..`, short where it is of a known place (`burn-nn-0.22.1/src/x.rs` for a
/// registry's crate, `std/src/x.rs` for the standard library, relative to the current folder or to
/// this crate for what is below), and whose code it is by its place; `None` if the place does not
/// tell.
fn placed(path: &str) -> (String, Option<Owner>) {
    let path = normal(Path::new(path));
    let text = path.to_string_lossy();
    if let Some(short) = of_dependency(&text) {
        let krate = versioned(short.split('/').next().unwrap_or_default());
        let krate = krate.unwrap_or_default().replace('-', "_");
        let owner = match krate.as_str() {
            "afterdrop" => Owner::Tool,
            k if CARRIERS.contains(&k) => Owner::Standard,
            _ => Owner::Dependency,
        };
        return (short, Some(owner));
    }
    if let Some((_, rest)) = text.split_once("/library/")
        && (text.starts_with("/rustc/") || text.contains("/rustlib/src/rust/library/"))
    {
        return (rest.into(), Some(Owner::Standard));
    }
    if let Some(rest) = text.strip_prefix("/rust/deps/") {
        return (rest.into(), Some(Owner::Standard));
    }
    if let Ok(inside) = path.strip_prefix(HOME) {
        // The workloads are what is measured, not the tool.
        let is_tool = inside.starts_with("src") && !inside.starts_with(WORKLOADS);
        let owner = if is_tool { Owner::Tool } else { Owner::Own };
        return (inside.to_string_lossy().into_owned(), Some(owner));
    }
    let here = std::env::current_dir().ok();
    let inside = here.and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    (inside.unwrap_or(path).to_string_lossy().into_owned(), None)
}

/// `name-1.2.3/src/x.rs` of a registry's crate, `name-git/src/x.rs` of a checkout.
fn of_dependency(path: &str) -> Option<String> {
    if let Some((_, rest)) = path.split_once("/registry/src/") {
        return rest.split_once('/').map(|(_, rest)| rest.to_owned());
    }
    // `<repository>-<hash>/<commit>/<path>`
    let (_, rest) = path.split_once("/git/checkouts/")?;
    let (repository, rest) = rest.split_once('/')?;
    let (_, rest) = rest.split_once('/')?;
    let name = repository
        .rsplit_once('-')
        .map_or(repository, |(name, _)| name);
    Some(format!("{name}{CHECKOUT}/{rest}"))
}

/// What the folder of a checkout ends with in a report.
const CHECKOUT: &str = "-git";

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// Crates that allocate only on behalf of their callers; nobody would edit them for a leak.
const CARRIERS: &[&str] = &[
    "std",
    "core",
    "alloc",
    "proc_macro",
    "hashbrown",
    "bytes",
    "smallvec",
    "arrayvec",
    "indexmap",
    "rayon",
    "rayon_core",
    "crossbeam",
    "crossbeam_deque",
    "crossbeam_epoch",
    "crossbeam_utils",
    "parking_lot",
    "parking_lot_core",
    "lock_api",
    "once_cell",
    "dhat",
    "tikv_jemallocator",
    "backtrace",
];

/// A frame as DWARF has it.
fn frame_of(function: &str, path: Option<&str>, line: Option<u32>) -> Frame {
    let line = line.filter(|&l| l > 0);
    let (file, place) = match path.map(placed) {
        Some((file, owner)) => (Some(file), owner),
        None => (None, None),
    };
    let owner = match place {
        _ if function.starts_with("__rust") => Owner::Standard,
        // A build without line tables still names functions; C's start-up code has no modules.
        None if function.contains("::") && line.is_none() => by_name(krate_of(function)),
        _ if line.is_none() => Owner::Standard,
        Some(owner) => owner,
        None if krate_of(function) == "afterdrop" => Owner::Tool,
        None => Owner::Own,
    };
    Frame {
        function: function.into(),
        file,
        line,
        owner,
    }
}

/// Whose code a function of this crate is, as far as the name alone tells.
fn by_name(krate: &str) -> Owner {
    match krate {
        "afterdrop" => Owner::Tool,
        "test" => Owner::Standard,
        k if CARRIERS.contains(&k) => Owner::Standard,
        _ => Owner::Own,
    }
}

/// The crate that a function's name begins with; for `<a::B as c::D>::e` it is `a`.
fn krate_of(function: &str) -> &str {
    let name = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let name = name.strip_prefix("dyn ").unwrap_or(name);
    let name = name.strip_prefix("mut ").unwrap_or(name);
    let end = name
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(name.len());
    &name[..end]
}

/// The crate's name of a folder `name-1.2.3` or `name-git`, as `tidy_path` gives it.
fn versioned(folder: &str) -> Option<&str> {
    if let Some(name) = folder.strip_suffix(CHECKOUT) {
        return Some(name);
    }
    folder.match_indices('-').find_map(|(i, _)| {
        let version = &folder[i + 1..];
        let is_version = version.starts_with(|v: char| v.is_ascii_digit()) && version.contains('.');
        (i > 0 && is_version).then(|| &folder[..i])
    })
}

/// The index of the blame frame: the innermost frame of the user's own code, what a macro wrote of
/// it only where there is no other, else where the innermost dependency was entered (the function of
/// its own that somebody else calls), else the standard library's thread start, else of whatever
/// carried the allocation out. `None` if no frame has a name.
pub(crate) fn blame(stack: &[Frame]) -> Option<usize> {
    let of = |owner| stack.iter().position(|f| f.owner == owner);
    // `alloc` and `core` are on the way of every allocation and say nothing.
    let carrier = |f: &Frame| {
        let file = f.file.as_deref().unwrap_or_default();
        f.owner == Owner::Standard
            && f.line.is_some()
            && !f.function.starts_with("__rust")
            && !file.starts_with("alloc/")
            && !file.starts_with("core/")
            && !file.starts_with("test/")
    };
    of(Owner::Own)
        .or_else(|| of(Owner::Generated))
        .or_else(|| Some(entered(stack, of(Owner::Dependency)?)))
        .or_else(|| stack.iter().position(Frame::starts_thread))
        .or_else(|| stack.iter().position(carrier))
}

/// From a frame of a dependency outwards to the last one before another crate is reached.
fn entered(stack: &[Frame], inner: usize) -> usize {
    let package = stack[inner].package();
    let mut entered = inner;
    for (i, frame) in stack.iter().enumerate().skip(inner + 1) {
        match frame.owner {
            Owner::Dependency if frame.package() == package => entered = i,
            // Closures and iterators are called through the standard library.
            Owner::Standard => {}
            _ => break,
        }
    }
    entered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::relevant;

    fn frame(function: &str, file: &str) -> Frame {
        frame_of(function, Some(file), Some(3))
    }

    fn tidy_path(path: &str) -> String {
        placed(path).0
    }

    #[test]
    fn paths_lose_the_machine_they_were_built_on() {
        let home = "/home/me/.cargo/registry/src/index-abc/burn-nn-0.22.1/src/x.rs";
        assert_eq!(tidy_path(home), "burn-nn-0.22.1/src/x.rs");
        let std = "/rustc/0123abc/library/alloc/src/vec/mod.rs";
        assert_eq!(tidy_path(std), "alloc/src/vec/mod.rs");
        let git = "/home/me/.cargo/git/checkouts/burn-12ab/34cd/crates/x/src/y.rs";
        assert_eq!(tidy_path(git), "burn-git/crates/x/src/y.rs");
        assert_eq!(frame("x::y", git).owner, Owner::Dependency);
        let here = std::env::current_dir().unwrap().join("src/a/../b.rs");
        assert_eq!(tidy_path(&here.to_string_lossy()), "src/b.rs");
    }

    #[test]
    fn the_user_is_blamed_before_a_dependency_and_nobody_else() {
        let stack = [
            frame(
                "alloc::vec::Vec<T>::push",
                "/rustc/1/library/alloc/src/vec/mod.rs",
            ),
            frame(
                "<hashbrown::X as Y>::z",
                "/c/registry/src/i/hashbrown-0.15.2/src/lib.rs",
            ),
            frame(
                "burn_autodiff::graph",
                "/c/registry/src/i/burn-autodiff-0.22.1/src/g.rs",
            ),
            frame("serving::reload", "/srv/app/src/reload.rs"),
            frame(
                "afterdrop::recorder::cycle::runner::run",
                &format!(
                    "{}/src/recorder/cycle/runner.rs",
                    env!("CARGO_MANIFEST_DIR")
                ),
            ),
            frame("serving::main", "/srv/app/src/main.rs"),
        ];
        assert_eq!(blame(&stack), Some(3));
        assert_eq!(blame(&stack[..3]), Some(2));
        assert_eq!(blame(&stack[..2]), Some(1));
        assert_eq!(blame(&stack[..1]), None);
        let names: Vec<&str> = relevant(&stack).iter().map(|f| &*f.function).collect();
        assert_eq!(names, ["burn_autodiff::graph", "serving::reload"]);
    }

    #[test]
    fn a_dependency_is_blamed_where_it_was_entered() {
        let gemm = "/c/registry/src/i/gemm-common-0.18.2/src/gemm.rs";
        let stack = [
            frame("gemm_common::grow", gemm),
            frame(
                "core::ops::FnOnce::call_once",
                "/rustc/1/library/core/src/ops.rs",
            ),
            frame("gemm_common::gemm", gemm),
            frame(
                "burn_flex::matmul",
                "/c/registry/src/i/burn-flex-0.22.1/src/m.rs",
            ),
            frame("gemm_common::other", gemm),
        ];
        assert_eq!(blame(&stack), Some(2));
    }

    #[test]
    fn what_a_thread_keeps_of_itself_is_blamed_on_its_start() {
        let std = "/rustc/1/library/std/src/sys";
        let stack = [
            frame(
                "std::thread_info::set_current_info",
                &format!("{std}/info.rs"),
            ),
            frame(
                "<std::sys::thread::unix::Thread>::new::thread_start",
                &format!("{std}/thread/unix.rs"),
            ),
        ];
        assert_eq!(blame(&stack), Some(1));
        assert!(stack[1].starts_thread() && !stack[0].starts_thread());
        let mut own = stack.to_vec();
        own.insert(0, frame("serving::work", "/srv/app/src/work.rs"));
        assert_eq!(blame(&own), Some(0));
    }

    #[test]
    fn what_a_macro_wrote_is_blamed_only_where_nobody_wrote_more() {
        let generated = Frame {
            owner: Owner::Generated,
            ..frame("<app::Mlp as Module>::map", "/srv/app/src/model.rs")
        };
        let stack = [generated, frame("app::load", "/srv/app/src/model.rs")];
        assert_eq!(blame(&stack), Some(1));
        assert_eq!(blame(&stack[..1]), Some(0));
        assert_eq!(relevant(&stack).len(), 2);
    }

    #[test]
    fn generic_code_belongs_to_the_file_it_stands_in() {
        let inlined = frame(
            "<app::T as core::clone::Clone>::clone",
            "/rustc/1/library/core/src/clone.rs",
        );
        assert_eq!(inlined.owner, Owner::Standard);
        let workload = format!("{}/src/workloads/burn.rs", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(
            frame("afterdrop::workloads::burn::x", &workload).owner,
            Owner::Own
        );
    }

    #[test]
    fn a_static_has_the_name_that_its_source_gives_it() {
        for (symbol, name) in [
            (
                "_ZN7serving8registry8REGISTRY17h0123456789abcdefE",
                "serving::registry::REGISTRY",
            ),
            (
                "_ZN7serving8registry8REGISTRY17h0123456789abcdefE.llvm.77",
                "serving::registry::REGISTRY",
            ),
            (
                "_ZN7serving8registry8REGISTRY17h0123456789abcdefE.0",
                "serving::registry::REGISTRY",
            ),
            (
                "_ZN7serving7SCRATCH29_$u7b$$u7b$constant$u7d$$u7d$28_$u7b$$u7b$closure$u7d$$u7d$3VAL17h0123456789abcdefE",
                "serving::SCRATCH",
            ),
            ("optarg", "optarg"),
        ] {
            assert_eq!(static_name(symbol), name);
        }
    }

    #[test]
    fn a_static_is_found_in_the_file_of_its_module() {
        let mut symbols = Symbolizer::default();
        crate::recorder::proc::for_each_code_mapping(
            &mut crate::recorder::heap::MappedVec::new(),
            |m| {
                symbols.learn(&Code {
                    start: m.start,
                    end: m.end,
                    offset: m.offset,
                    path: m.path.to_owned(),
                });
            },
        );
        let place = symbols.static_place("afterdrop::recorder::heap::state::STATE");
        let (file, line) = place.unwrap();
        assert_eq!(file, "src/recorder/heap/state.rs");
        let text = std::fs::read_to_string(&file).unwrap();
        let declared = text.lines().nth(line as usize - 1).unwrap();
        assert!(declared.starts_with("static STATE:"), "{declared}");
        assert_eq!(
            symbols.static_place("afterdrop::recorder::heap::NO_SUCH"),
            None
        );
    }

    #[test]
    fn names_lose_their_hash_and_keep_the_rest() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::handler"), "a::handler");
    }

    #[test]
    fn a_crate_is_read_off_a_name() {
        assert_eq!(krate_of("<alloc::vec::Vec<T> as X>::y"), "alloc");
        assert_eq!(krate_of("<&mut a::B as c::D>::e"), "a");
        assert_eq!(krate_of("main"), "main");
    }

    #[test]
    fn a_workload_of_this_crate_is_no_tool_wherever_it_is_run() {
        let file = format!("{HOME}/src/workloads/models/cnn.rs");
        let logits = frame(
            "<afterdrop::workloads::models::cnn::Cnn as X>::logits",
            &file,
        );
        assert_eq!(logits.owner, Owner::Own);
        assert_eq!(logits.file.as_deref(), Some("src/workloads/models/cnn.rs"));
        let user = frame(
            "<serving::A as afterdrop::cycle::Workload>::load",
            "/srv/src/heap/a.rs",
        );
        assert_eq!(user.owner, Owner::Own);
        let vendored = frame(
            "afterdrop::recorder::cycle::runner::run",
            "/vendor/afterdrop/src/x.rs",
        );
        assert_eq!(vendored.owner, Owner::Tool);
    }

    #[test]
    fn this_test_is_found_in_its_own_executable() {
        let mut code = Vec::new();
        crate::recorder::proc::for_each_code_mapping(
            &mut crate::recorder::heap::MappedVec::new(),
            |m| {
                code.push(Code {
                    start: m.start,
                    end: m.end,
                    offset: m.offset,
                    path: m.path.to_owned(),
                });
            },
        );
        let here = this_test_is_found_in_its_own_executable as *const () as u64 + 1;
        let mut symbols = Symbolizer::default();
        code.iter().for_each(|c| symbols.learn(c));
        let frames = symbols.frames(here);
        let last = frames.last().unwrap();
        assert!(
            last.function
                .ends_with("this_test_is_found_in_its_own_executable"),
            "{last:?}"
        );
        assert_eq!(last.file.as_deref(), Some("src/analysis/symbols.rs"));
        assert!(symbols.frames(16).is_empty(), "no code is mapped there");
    }
}
