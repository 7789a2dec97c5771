//! Looks up addresses and statics in the files that were mapped in the measured process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::binary::Binary;
use super::names::{demangled, without_hash};
use super::ownership::{classify_path, crate_of, frame_of, is_pass_through, own_by_object};
use super::python;
use super::sources::Sources;
use super::unread::Unread;
use crate::base::order::sort_by;
use crate::base::vec_map::VecMap;
use crate::model::frame::{Frame, Owner};
use crate::model::journal::Code;
use crate::model::python::{LOCATION_BIT, PythonLocation};

/// The mapped files of the measured process, and what was looked up in them.
#[derive(Default)]
pub(crate) struct Symbolizer {
    /// Code mappings, each with the index of its file in `binaries`; `None` if the file cannot be
    /// read.
    mappings: Vec<(Code, Option<usize>)>,
    by_path: VecMap<PathBuf, Option<usize>>,
    binaries: Vec<Binary>,
    sources: Sources,
    /// Frames by return address, or by the entry of a stack that is a location of Python's.
    frames: HashMap<u64, Vec<Frame>>,
    /// The files are those of a program as it is: whose code a function is depends on the file, too.
    is_exec: bool,
    /// Source files by module. Finding them takes a pass over all functions.
    modules: RefCell<VecMap<String, Option<Vec<String>>>>,
}

impl Symbolizer {
    /// Says whether the files are those of a program as it is.
    pub(crate) fn set_exec(&mut self, is_exec: bool) {
        self.is_exec = is_exec;
    }

    /// Adds a mapping of code, and reads its file. If the file cannot be read, its frames have no
    /// names.
    pub(crate) fn add_mapping(&mut self, code: &Code) {
        let binaries = &mut self.binaries;
        let path = code.path.as_path();
        let read = || {
            binaries.push(Binary::read(path)?);
            Some(binaries.len() - 1)
        };
        let file = *self.by_path.get_or_insert_with(path.into(), read);
        self.mappings.push((code.clone(), file));
    }

    /// Adds a location of Python's.
    pub(crate) fn add_location(&mut self, location: &PythonLocation) {
        let (frame, path) = python::frame_of(location);
        if let (Some(file), Some(path)) = (&frame.file, path) {
            self.sources.record_path(file, path);
        }
        let entry = LOCATION_BIT | u64::from(location.id);
        self.frames.insert(entry, vec![frame]);
    }

    /// The frames at a return address, innermost first: inlined functions, then the function that
    /// they are inlined into. Empty if no code is mapped there.
    pub(crate) fn frames(&mut self, return_address: u64) -> &[Frame] {
        if !self.frames.contains_key(&return_address) {
            let frames = self.look_up(return_address);
            self.frames.insert(return_address, frames);
        }
        &self.frames[&return_address]
    }

    /// The frames of a stack of return addresses, innermost first. Of a stack with Python in it the
    /// interpreter's own are left out, and no native one is the user's: the line that a person would edit
    /// is one of Python.
    pub(crate) fn stack(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let is_python = |&address: &u64| address & LOCATION_BIT != 0;
        let has_python = addresses.iter().any(is_python);
        let mut frames = Vec::new();
        for address in addresses {
            if !has_python || is_python(address) {
                frames.extend_from_slice(self.frames(*address));
                continue;
            }
            let object = self.mapping(*address).map(|(code, _)| code.path.as_path());
            if object.is_some_and(python::is_interpreter) {
                continue;
            }
            frames.extend(self.frames(*address).iter().cloned().map(|frame| Frame {
                owner: match frame.owner {
                    Owner::Own | Owner::Generated | Owner::Dependency => Owner::Native,
                    other => other,
                },
                ..frame
            }));
        }
        frames
    }

    /// The file name of the executable or shared library of the call before a return address.
    pub(crate) fn object(&self, return_address: u64) -> Option<String> {
        let (code, _) = self.mapping(return_address)?;
        let name = code.path.as_path().file_name()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// Why files in which addresses were looked up lack lines or inlined frames. Files whose debug
    /// information is elsewhere and was not found are left out unless `even_if_not_found`: those of a
    /// library that nobody debugs are rarely installed.
    pub(crate) fn unread(&self, even_if_not_found: bool) -> Vec<String> {
        let mut is_used = vec![false; self.binaries.len()];
        for &address in self.frames.keys() {
            if let Some((_, Some(binary))) = self.mapping(address) {
                is_used[*binary] = true;
            }
        }
        let used = self.binaries.iter().zip(is_used).filter(|(_, used)| *used);
        let unread = used.filter_map(|(binary, _)| binary.unread());
        // Where memory is short, it is so for most files.
        let mut is_short = false;
        unread
            .filter(|u| even_if_not_found || !matches!(u, Unread::NotFound { .. }))
            .filter(|u| {
                !matches!(u, Unread::NoMemory { .. }) || !std::mem::replace(&mut is_short, true)
            })
            .map(|u| u.to_string())
            .collect()
    }

    /// The lines around a line of a frame's file, and the number of the first of them; `None` if the
    /// file cannot be read.
    pub(crate) fn excerpt(&self, file: &str, line: u32) -> Option<(u32, Vec<String>)> {
        self.sources.excerpt(file, line)
    }

    /// The file and line at which a static is declared, by its demangled name.
    ///
    /// Line tables have no statics. But the functions of the same module are in the same file, and
    /// the declaration is found in its text.
    pub(crate) fn static_location(&self, name: &str) -> Option<(String, u32)> {
        // The standard library's sources are rarely installed, and nobody edits them.
        if is_pass_through(crate_of(name)) {
            return None;
        }
        let (mut module, own_name) = name.rsplit_once("::")?;
        let mut submodules = PathBuf::new();
        // A static inside a function has the function as its module. A module without functions
        // has no line table entries, so its file is looked for beside that of its parent.
        loop {
            let mut modules = self.modules.borrow_mut();
            let paths = modules.get_or_insert_with(module.to_owned(), || {
                let mut binaries = self.binaries.iter();
                binaries.find_map(|b| b.source_files(module))
            });
            for path in paths.iter().flatten() {
                let files = candidate_files(Path::new(path), &submodules);
                let inside = submodules.iter().next().and_then(|i| i.to_str());
                let found = files.iter().find_map(|file| {
                    let line = self.sources.line_of_static(file, own_name, inside)?;
                    Some((file, line))
                });
                if let Some((file, line)) = found {
                    return Some((classify_path(file).0, line));
                }
            }
            let last;
            (module, last) = module.rsplit_once("::")?;
            submodules = Path::new(last).join(submodules);
        }
    }

    /// The mapping of the call before a return address.
    fn mapping(&self, return_address: u64) -> Option<&(Code, Option<usize>)> {
        let call = return_address.wrapping_sub(1);
        let mut mappings = self.mappings.iter();
        mappings.find(|(c, _)| (c.start..c.end).contains(&call))
    }

    /// Other files that were mapped at the same address at another time, after the library of the mapping was
    /// closed.
    fn other_files(&self, return_address: u64, of: &Code) -> Vec<&Path> {
        let call = return_address.wrapping_sub(1);
        let there = self.mappings.iter().map(|(code, _)| code);
        let there = there.filter(|code| (code.start..code.end).contains(&call));
        let mut files: Vec<&Path> = there.map(|code| code.path.as_path()).collect();
        files.retain(|file| *file != of.path.as_path());
        sort_by(&mut files, Ord::cmp);
        files.dedup();
        files
    }

    fn look_up(&self, return_address: u64) -> Vec<Frame> {
        // The call instruction ends before the return address, which may be on another line.
        let call = return_address.wrapping_sub(1);
        let Some((code, file)) = self.mapping(return_address) else {
            return Vec::new();
        };
        let others = self.other_files(return_address, code);
        if !others.is_empty() {
            let mut frames = vec![of_one_of_several(code, &others)];
            own_by_object(&mut frames, code.path.as_path());
            return frames;
        }
        // None in a damaged journal, whose offsets may be any numbers.
        let offset = code.offset.checked_add(call - code.start);
        let mut frames = file
            .and_then(|i| {
                let binary = &self.binaries[i];
                let address = binary.address(offset?)?;
                Some(frames_at(binary, &self.sources, address))
            })
            .unwrap_or_default();
        if frames.is_empty() {
            let file = code.path.as_path().file_name();
            let file = file.map(|f| f.to_string_lossy().into_owned());
            frames.push(Frame {
                // Without a symbol, functions differ by their addresses.
                function: match (self.is_exec, &file, offset) {
                    (true, Some(file), Some(offset)) => format!("{file}+{offset:#x}"),
                    _ => "??".into(),
                },
                file,
                line: None,
                owner: Owner::Standard,
            });
        }
        if self.is_exec {
            own_by_object(&mut frames, code.path.as_path());
        }
        frames
    }
}

/// The frame of a function of which it is not known in which of several files it is: stacks with the same
/// addresses are one.
fn of_one_of_several(code: &Code, others: &[&Path]) -> Frame {
    const NAMED: usize = 3;
    let files = [code.path.as_path()]
        .into_iter()
        .chain(others.iter().copied());
    let names = files
        .filter_map(Path::file_name)
        .map(|name| name.to_string_lossy());
    let mut names: Vec<String> = names.map(|name| name.into_owned()).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    Frame {
        function: format!(
            "a function of {}, which had the same addresses",
            names.join(" or ")
        ),
        file: None,
        line: None,
        owner: Owner::Standard,
    }
}

/// The frames at a virtual address of a file, inlined ones first.
pub(super) fn frames_at(binary: &Binary, sources: &Sources, address: u64) -> Vec<Frame> {
    let symbol = || binary.symbol(address).map(demangled);
    let mut frames = Vec::new();
    if let Some(mut found) = binary.debug.frames(address) {
        while let Ok(Some(frame)) = found.next() {
            let name = frame
                .function
                .and_then(|f| Some(demangled(&f.raw_name().ok()?)));
            // `debug = "line-tables-only"` names inlined functions only; the outermost function
            // has its symbol.
            let Some(name) = name.or_else(symbol) else {
                continue;
            };
            let location = frame.location.as_ref();
            let (path, line) = (location.and_then(|l| l.file), location.and_then(|l| l.line));
            let mut frame = frame_of(without_hash(&name), path, line);
            if let (Some(path), Some(file)) = (path, &frame.file) {
                sources.record_path(file, path);
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

/// The files that may define a submodule of the module in `file`; `file` itself first.
fn candidate_files(file: &Path, submodules: &Path) -> Vec<String> {
    let mut files = vec![file.to_owned()];
    if submodules.components().next().is_some() {
        let folder = file.parent().unwrap_or(Path::new(""));
        for base in [folder.to_owned(), file.with_extension("")] {
            let module = base.join(submodules);
            files.push(module.with_extension("rs"));
            files.push(module.join("mod.rs"));
        }
    }
    let text = files.into_iter().map(|f| f.to_string_lossy().into_owned());
    text.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::model::journal::RecordedPath;

    static DECLARED_HERE: AtomicU32 = AtomicU32::new(0);

    /// A symbolizer of this test's own executable.
    fn of_this_process() -> Symbolizer {
        let mut symbols = Symbolizer::default();
        crate::recorder::proc::for_each_code_mapping(
            &mut crate::recorder::heap::MappedVec::new(),
            |m| {
                symbols.add_mapping(&Code {
                    start: m.start,
                    end: m.end,
                    offset: m.offset,
                    path: RecordedPath::Bytes(m.path.to_owned()),
                });
            },
        );
        symbols
    }

    #[test]
    fn an_offset_that_no_file_has_costs_only_the_line() {
        let mut symbols = Symbolizer::default();
        let path = std::env::current_exe().unwrap();
        symbols.add_mapping(&Code {
            start: 0x1000,
            end: 0x3000,
            offset: u64::MAX,
            path: RecordedPath::Text(path.to_str().unwrap().into()),
        });
        let frames = symbols.frames(0x2000);
        let [frame] = frames else {
            panic!("{frames:?}");
        };
        assert_eq!(frame.function, "??");
        assert_eq!(frame.line, None);
    }

    #[test]
    fn a_static_is_found_in_the_file_of_its_module() {
        DECLARED_HERE.fetch_add(1, Ordering::Relaxed);
        let symbols = of_this_process();
        let module = "afterdrop::analysis::symbols::symbolizer::tests";
        let found = symbols.static_location(&format!("{module}::DECLARED_HERE"));
        let (file, line) = found.unwrap();
        assert_eq!(file, file!());
        let text = std::fs::read_to_string(&file).unwrap();
        let declared = text.lines().nth(line as usize - 1).unwrap().trim_start();
        assert!(declared.starts_with("static DECLARED_HERE:"), "{declared}");
        let missing = symbols.static_location(&format!("{module}::NO_SUCH"));
        assert_eq!(missing, None);
    }

    #[test]
    fn this_test_is_found_in_its_own_executable() {
        let here = this_test_is_found_in_its_own_executable as *const () as u64 + 1;
        let mut symbols = of_this_process();
        let frames = symbols.frames(here);
        let last = frames.last().unwrap();
        assert!(
            last.function
                .ends_with("this_test_is_found_in_its_own_executable"),
            "{last:?}"
        );
        assert_eq!(last.file.as_deref(), Some(file!()));
        assert!(symbols.frames(16).is_empty(), "no code is mapped there");
    }
}
