//! What Python itself would start from: the modules, and the local variables of the running functions.

use super::dicts::find_key;
use super::graph::Graph;
use super::memory::Memory;
use super::objects::Objects;
use super::source::PythonSource;
use super::types::{Family, Types};
use crate::recorder::heap::{MappedVec, NoMemory, PythonRunningFrame, python_line};
use crate::recorder::holders::holder_table::{Holder, HolderId, HolderTable, Source};
use crate::recorder::holders::index::BlockId;
use crate::recorder::holders::marks::Marks;

// Offset in a module.
const DICT: usize = 16;

/// Limits of lists that may be broken.
const MAX_THREADS: usize = 1 << 16;
const MAX_FRAMES: usize = 1 << 14;
const MAX_LOCALS: usize = 1 << 12;

/// Longest name that is written, in bytes. A longer one is cut.
const LONGEST_NAME: usize = 512;

/// From this owner on a frame is not that of a function.
const NOT_OF_A_FUNCTION: u8 = 3;

/// A module of `sys.modules`.
#[derive(Clone, Copy)]
pub(super) struct Module {
    /// The address of its name, a string.
    pub(super) name: usize,
    /// The blocks of the module, and of the dict of what is in it.
    pub(super) blocks: [Option<BlockId>; 2],
}

/// A running function.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) code: usize,
    pub(super) instruction: usize,
    /// Its local variables, as a range of addresses.
    pub(super) locals: (usize, usize),
}

pub(super) struct Roots {
    pub(super) modules: MappedVec<Module>,
    pub(super) frames: MappedVec<Frame>,
}

impl Roots {
    pub(super) fn find(graph: &Graph<'_>) -> Result<Self, NoMemory> {
        let Graph {
            memory,
            types,
            objects,
        } = graph;
        let mut roots = Self {
            modules: MappedVec::new(),
            frames: MappedVec::new(),
        };
        roots.find_modules(memory, types, objects)?;
        let mut interpreter = (memory.layout.first_interpreter)();
        while interpreter != 0 {
            let mut thread = (memory.layout.first_thread)(interpreter);
            let mut threads = 0;
            while thread != 0 && threads < MAX_THREADS {
                roots.find_frames(memory, thread)?;
                thread = (memory.layout.next_thread)(thread);
                threads += 1;
            }
            interpreter = (memory.layout.next_interpreter)(interpreter);
        }
        Ok(roots)
    }

    /// The modules of each interpreter: those in `sys.modules`. Others are no roots.
    fn find_modules(
        &mut self,
        memory: &Memory<'_>,
        types: &Types,
        objects: &Objects,
    ) -> Result<(), NoMemory> {
        let mut result = Ok(());
        for block in 0..objects.count() {
            let is_module = types
                .get(objects.type_of(block))
                .is_some_and(|found| found.family == Family::Module);
            let Some(module) = objects.address(memory, block).filter(|_| is_module) else {
                continue;
            };
            let Some(all) = modules_of(memory, module) else {
                continue;
            };
            find_key(memory, all, |name, module| {
                let dict = memory
                    .field(module, DICT)
                    .filter(|_| is_of(memory, types, module));
                let blocks = [Some(module), dict].map(|at| memory.block_at(at?));
                result = result.and_then(|()| self.modules.push(Module { name, blocks }));
                result.is_err()
            });
        }
        result
    }

    /// The frames of a thread.
    fn find_frames(&mut self, memory: &Memory<'_>, thread: usize) -> Result<(), NoMemory> {
        let offsets = &memory.layout.offsets;
        let mut next = match offsets.running {
            PythonRunningFrame::InThread { frame } => memory.far_word(thread + frame),
            PythonRunningFrame::InRecord { record, frame } => memory
                .far_word(thread + record)
                .and_then(|record| memory.far_word(record + frame)),
        };
        for _ in 0..MAX_FRAMES {
            let Some(frame) = next.filter(|&frame| frame != 0) else {
                break;
            };
            if let Some(found) = read_frame(memory, frame) {
                self.frames.push(found)?;
            }
            next = memory.far_word(frame.wrapping_add(offsets.previous));
        }
        Ok(())
    }
}

fn is_of(memory: &Memory<'_>, types: &Types, object: usize) -> bool {
    let of_type = types.of_object(memory, object);
    of_type.is_some_and(|found| found.family == Family::Module)
}

/// `sys.modules`, if this module is `sys`.
fn modules_of(memory: &Memory<'_>, module: usize) -> Option<usize> {
    let dict = memory.field(module, DICT)?;
    let is_text = |at, text: &str| memory.characters(at).eq(text.chars());
    find_key(memory, dict, |key, value| {
        is_text(key, "__name__") && is_text(value, "sys")
    })?;
    let mut modules = None;
    find_key(memory, dict, |key, value| {
        let is_wanted = is_text(key, "modules");
        modules = is_wanted.then_some(value);
        is_wanted
    })?;
    modules
}

pub(super) fn read_frame(memory: &Memory<'_>, frame: usize) -> Option<Frame> {
    let offsets = &memory.layout.offsets;
    let owner = memory.far_word(frame + (offsets.owner & !7))?.to_ne_bytes()[offsets.owner & 7];
    let code = memory.far_word(frame + offsets.code)? & !7;
    if owner >= NOT_OF_A_FUNCTION || memory.field(code, 8)? != memory.layout.code_type {
        return None;
    }
    let count = local_count(memory, code)?;
    let first = frame + offsets.locals;
    Some(Frame {
        code,
        instruction: memory.far_word(frame + offsets.instruction)?,
        locals: (first, first + 8 * count),
    })
}

/// The number of local variables of a code object.
fn local_count(memory: &Memory<'_>, code: usize) -> Option<usize> {
    const LENGTH: usize = 16;
    let names = memory.field(code, memory.layout.offsets.local_names)?;
    memory
        .field(names, LENGTH)
        .filter(|&count| count < MAX_LOCALS)
}

/// The line that a frame is in; that of its function if it is not known.
fn line(memory: &Memory<'_>, frame: &Frame) -> Option<u32> {
    let offsets = &memory.layout.offsets;
    let first_line = memory.number(frame.code + offsets.first_line)?;
    let table = memory.field(frame.code, offsets.line_table)?;
    let count = memory.field(table, offsets.byte_count)?;
    let bytes = (0..count).map_while(|i| memory.byte(table + offsets.bytes + i));
    // Units of two bytes. A frame that has not begun is before the first one.
    let unit = frame
        .instruction
        .saturating_sub(frame.code + offsets.bytecode)
        / 2;
    Some(python_line(bytes, first_line, unit).unwrap_or(first_line))
}

impl Roots {
    /// Marks what the modules and the running functions reach. A block that several of them reach is no shared one:
    /// all modules reach each other.
    pub(super) fn mark(
        &self,
        graph: &Graph<'_>,
        marks: &mut Marks<'_>,
        holders: &mut HolderTable,
    ) -> Result<(), NoMemory> {
        marks.sharing_from = HolderId::MAX;
        marks.queue.clear();
        for (index, module) in (0..).zip(self.modules.as_slice()) {
            let holder =
                holders.intern(holder(PythonSource::Module { index }, module.name, index))?;
            for block in module.blocks.into_iter().flatten() {
                marks.reach(holder, None, block)?;
            }
        }
        marks.follow()?;
        marks.queue.clear();
        // Callers first: what a function is called with is its caller's.
        for (index, frame) in self.frames.as_slice().iter().enumerate().rev() {
            let (first, end) = frame.locals;
            for at in (first..end).step_by(8) {
                let word = graph.memory.far_word(at).map(|word| word & !7);
                if let Some(block) = word.and_then(|word| graph.memory.block_at(word)) {
                    let holder = holders.intern(holder(
                        PythonSource::Frame {
                            index: index as u32,
                        },
                        first,
                        index as u32,
                    ))?;
                    marks.reach(holder, None, block)?;
                }
            }
        }
        marks.follow()
    }

    /// Calls `write` with the name, the file and the line of a module or of a running function; the last two are
    /// empty and 0 if there are none.
    pub(super) fn describe<R>(
        &self,
        graph: &Graph<'_>,
        holder: Source,
        write: impl FnOnce(&str, &str, u32) -> R,
    ) -> R {
        let (mut name, mut file) = ([0; LONGEST_NAME], [0; LONGEST_NAME]);
        let text = |at: Option<usize>, buffer| match at {
            Some(at) => encode(graph.memory.characters(at), buffer),
            None => "",
        };
        let offsets = &graph.memory.layout.offsets;
        match holder {
            Source::Python(PythonSource::Module { index }) => {
                let module = self.modules.as_slice().get(index as usize);
                write(text(module.map(|module| module.name), &mut name), "", 0)
            }
            Source::Python(PythonSource::Frame { index }) => {
                let frame = self.frames.as_slice().get(index as usize);
                let object = |offset| graph.memory.field(frame?.code, offset);
                write(
                    text(object(offsets.qualified_name), &mut name),
                    text(object(offsets.file_name), &mut file),
                    frame
                        .and_then(|frame| line(&graph.memory, frame))
                        .unwrap_or(0),
                )
            }
            _ => write("", "", 0),
        }
    }
}

/// A module or a running function as a holder.
fn holder(source: PythonSource, at: usize, index: u32) -> Holder {
    let is_frame = matches!(source, PythonSource::Frame { .. });
    let key = u64::from(index) << 4 | u64::from(is_frame) << 3 | 7;
    Holder::new(Source::Python(source), at, key)
}

/// Writes characters into a buffer, as far as they fit.
fn encode(characters: impl Iterator<Item = char>, buffer: &mut [u8]) -> &str {
    let mut end = 0;
    for character in characters {
        match buffer.get_mut(end..end + character.len_utf8()) {
            Some(room) => end += character.encode_utf8(room).len(),
            None => break,
        }
    }
    str::from_utf8(&buffer[..end]).unwrap_or_default()
}
