//! The files, functions and lines of Python's frames.

use super::frames::{PythonFrame, PythonFrames};
use super::interpreter::interpreter;
use super::line_table::line_of;
use super::objects::{bytes_of, characters_of, u32_at, word_at};
use super::offsets::Offsets;
use super::texts::{TextId, Texts};
use crate::model::python::{LOCATION_BIT, LocationId};
use crate::recorder::heap::frame::mix;
use crate::recorder::heap::mapped_table::{MappedTable, TableSlot};
use crate::recorder::heap::mapped_vec::MappedVec;
use crate::recorder::heap::mapping::NoMemory;
use crate::recorder::heap::spin_lock::SpinLock;

static LOCATIONS: SpinLock<Locations> = SpinLock::new(Locations::new());

/// Whether no thread holds the lock.
pub(crate) fn is_unlocked() -> bool {
    LOCATIONS.is_unlocked()
}

/// Frames that are remembered at most: a program that compiles new code again and again has ever new
/// ones. Then all are decoded once more.
const MAX_REMEMBERED: usize = 1 << 18;

/// Files whose frames are not shown: the machinery of `import`, which tracebacks leave out, too, what marks
/// cycles, and the code between a class and its `__init__` that 3.13 and later have.
const HIDDEN: [&str; 3] = ["<frozen importlib", "<afterdrop>", "__init__"];

/// What is known of a frame. Valid if all its bytes are zero: then it is free.
#[derive(Clone, Copy)]
struct Remembered {
    code: usize,
    instruction: usize,
    /// A hash of what the code object refers to, which another one at its address does not.
    identity: u64,
    /// `None` if the frame is not shown.
    location: Option<LocationId>,
}

impl TableSlot for Remembered {
    type Key = (usize, usize);
    const FREE: Self = Self {
        code: 0,
        instruction: 0,
        identity: 0,
        location: None,
    };

    fn key(&self) -> Option<Self::Key> {
        (self.code != 0).then_some((self.code, self.instruction))
    }

    fn hash((code, instruction): Self::Key) -> u64 {
        mix(code as u64, instruction)
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Location {
    file: TextId,
    function: TextId,
    /// 0 if it is not known.
    line: u32,
}

/// A location and its number, from 1. Valid if all its bytes are zero: then it is free.
#[derive(Clone, Copy)]
struct Numbered {
    location: Location,
    id: LocationId,
}

impl TableSlot for Numbered {
    type Key = (TextId, TextId, u32);
    const FREE: Self = Self {
        location: Location {
            file: 0,
            function: 0,
            line: 0,
        },
        id: 0,
    };

    fn key(&self) -> Option<Self::Key> {
        let Location {
            file,
            function,
            line,
        } = self.location;
        (self.id != 0).then_some((file, function, line))
    }

    fn hash((file, function, line): Self::Key) -> u64 {
        mix(u64::from(file) << 32 | u64::from(function), line as usize)
    }
}

struct Locations {
    remembered: MappedTable<Remembered>,
    numbers: MappedTable<Numbered>,
    /// By number.
    all: MappedVec<Location>,
    texts: Texts,
}

/// Calls `visit` with the pseudo address of each of these frames that is shown, innermost first.
/// Frames for which there is no memory are left out.
pub(crate) fn resolve(python: &PythonFrames, mut visit: impl FnMut(usize)) {
    let Some(interpreter) = interpreter() else {
        return;
    };
    let mut locations = LOCATIONS.lock();
    for &frame in python.frames() {
        // SAFETY: the frames are those of the running thread, which is still in them.
        let found = unsafe {
            let is_code = word_at(frame.code + 8) == interpreter.code_type;
            match is_code {
                true => locations.of_frame(frame, &interpreter.offsets),
                false => Ok(None),
            }
        };
        if let Ok(Some(id)) = found {
            visit(LOCATION_BIT as usize | id as usize);
        }
    }
}

/// Copies the file and the function of a location to `text`, one after the other. Returns the length
/// of the file's name, and the line, which is 0 if it is not known; `None` if there is no such
/// location, or no memory.
pub(crate) fn read_location(id: LocationId, text: &mut MappedVec<u8>) -> Option<(usize, u32)> {
    text.clear();
    let locations = LOCATIONS.lock();
    let index = (id as usize).checked_sub(1)?;
    let location = *locations.all.as_slice().get(index)?;
    let file = locations.texts.get(location.file);
    text.extend_from_slice(file).ok()?;
    let function = locations.texts.get(location.function);
    text.extend_from_slice(function).ok()?;
    Some((file.len(), location.line))
}

impl Locations {
    const fn new() -> Self {
        Self {
            remembered: MappedTable::new(),
            numbers: MappedTable::new(),
            all: MappedVec::new(),
            texts: Texts::new(),
        }
    }

    /// The number of a frame's location; `None` if the frame is not shown.
    ///
    /// # Safety
    /// The frame is live, and its code is a code object.
    unsafe fn of_frame(
        &mut self,
        frame: PythonFrame,
        offsets: &Offsets,
    ) -> Result<Option<LocationId>, NoMemory> {
        let PythonFrame { code, instruction } = frame;
        // SAFETY: the contract of this function.
        let identity = unsafe { identity_of(code, offsets) };
        if let Some(known) = self.remembered.get((code, instruction))
            && known.identity == identity
        {
            return Ok(known.location);
        }
        // SAFETY: the contract of this function.
        let location = unsafe { self.decode(frame, offsets) }?;
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
        }
        let entry = Remembered {
            code,
            instruction,
            identity,
            location,
        };
        self.remembered.insert_or(entry, |old| *old = entry)?;
        Ok(location)
    }

    /// # Safety
    /// The frame is live, and its code is a code object.
    unsafe fn decode(
        &mut self,
        PythonFrame { code, instruction }: PythonFrame,
        offsets: &Offsets,
    ) -> Result<Option<LocationId>, NoMemory> {
        // SAFETY: the contract of this function. A code object keeps what it refers to.
        let (file, function, line) = unsafe {
            let object = |offset| word_at(code + offset);
            let file = self
                .texts
                .intern(characters_of(object(offsets.file_name), offsets))?;
            let name = self.texts.get(file);
            if HIDDEN
                .iter()
                .any(|hidden| name.starts_with(hidden.as_bytes()))
            {
                return Ok(None);
            }
            let function = self
                .texts
                .intern(characters_of(object(offsets.qualified_name), offsets))?;
            let table = bytes_of(object(offsets.line_table), offsets);
            let first_line = u32_at(code + offsets.first_line);
            // Units of two bytes. A frame that has not begun is before the first one.
            let unit = instruction.saturating_sub(code + offsets.bytecode) / 2;
            let line = line_of(table, first_line, unit).unwrap_or(first_line);
            (file, function, line)
        };
        let location = Location {
            file,
            function,
            line,
        };
        self.number(location).map(Some)
    }

    /// The number of a location, which is a new one if it is new.
    fn number(&mut self, location: Location) -> Result<LocationId, NoMemory> {
        let Location {
            file,
            function,
            line,
        } = location;
        if let Some(known) = self.numbers.get((file, function, line)) {
            return Ok(known.id);
        }
        let id = self.all.as_slice().len() as LocationId + 1;
        self.all.push(location)?;
        self.numbers.insert_or(Numbered { location, id }, |_| {})?;
        Ok(id)
    }
}

/// A hash of what a code object refers to.
///
/// # Safety
/// It is a live code object.
unsafe fn identity_of(code: usize, offsets: &Offsets) -> u64 {
    // SAFETY: the contract of this function.
    unsafe {
        let hash = mix(
            word_at(code + offsets.file_name) as u64,
            word_at(code + offsets.qualified_name),
        );
        mix(
            hash ^ u64::from(u32_at(code + offsets.first_line)),
            word_at(code + offsets.line_table),
        )
    }
}
