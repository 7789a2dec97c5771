//! By which name an object refers to the next one of a path: `.attribute`, `['key']`, `[3]`.

use core::fmt::{self, Write};

use super::dicts::{Keys, find_key, value_at};
use super::graph::Graph;
use super::objects::{ITEMS, LENGTH};
use super::roots::{Frame, Roots, read_frame};
use super::source::PythonSource;
use super::types::{BASIC_SIZE, DICT_OFFSET, Family, MEMBERS, Type, bases, c_text};
use crate::recorder::holders::holder_table::Source;
use crate::recorder::holders::index::BlockId;

// Offsets in an entry of the members that a type has (`PyMemberDef`).
const MEMBER_BYTES: usize = 40;
const MEMBER_KIND: usize = 8;
const MEMBER_OFFSET: usize = 16;

/// Kinds of members that are objects: `Py_T_OBJECT_EX`, and the one before it.
const OBJECT_MEMBERS: [u32; 2] = [6, 16];

/// Members of a type, and words of an object, that are looked at at most.
const MAX_MEMBERS: usize = 256;
const MAX_WORDS: usize = 1 << 20;

/// Where a class may have the address of its objects' keys: behind what all types have.
const CLASS_KEYS: core::ops::Range<usize> = 400..1200;

/// A name that fits into a few words. A longer one is cut.
pub(crate) struct Label {
    bytes: [u8; 64],
    len: usize,
}

impl Label {
    pub(crate) const NONE: Self = Self {
        bytes: [0; 64],
        len: 0,
    };

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut label = Self::NONE;
        // Fails where it is cut.
        let _ = label.write_fmt(text);
        label
    }
}

impl Write for Label {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let end = self.len + character.len_utf8();
            let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
            character.encode_utf8(room);
            self.len = end;
        }
        Ok(())
    }
}

/// Characters that are shown as they are read.
struct Text<I>(I);

impl<I: Iterator<Item = char> + Clone> fmt::Display for Text<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .clone()
            .try_for_each(|character| f.write_char(character))
    }
}

/// One object that refers to another.
#[derive(Clone, Copy)]
struct Step {
    from: usize,
    /// The block of `from`, or one that belongs to it, that has the reference.
    block: BlockId,
    to: usize,
}

/// The names of the steps of paths.
pub(super) struct Labels<'a> {
    graph: &'a Graph<'a>,
    roots: &'a Roots,
}

impl<'a> Labels<'a> {
    pub(super) fn new(graph: &'a Graph<'a>, roots: &'a Roots) -> Self {
        Self { graph, roots }
    }

    /// The name of a block of a path, as the one before it or the holder has it; empty if it has none.
    pub(super) fn label(&self, holder: Source, path: &[BlockId], number: usize) -> Label {
        self.find_label(holder, path, number).unwrap_or(Label::NONE)
    }

    fn find_label(&self, holder: Source, path: &[BlockId], number: usize) -> Option<Label> {
        let to = self.address(*path.get(number)?)?;
        let Some(before) = number.checked_sub(1) else {
            return match holder {
                Source::Python(PythonSource::Frame { index }) => {
                    let frame = self.roots.frames.as_slice().get(index as usize)?;
                    self.local_variable(frame, to)
                }
                _ => None,
            };
        };
        let (owner, step) = self.step(path, before, to)?;
        match self.type_at(step.from)?.family {
            Family::Dict => {
                let key = find_key(&self.graph.memory, step.from, |_, value| value == to)?;
                let is_of_module =
                    owner == 0 && matches!(holder, Source::Python(PythonSource::Module { .. }));
                let is_name = self.type_at(key)?.family == Family::Text;
                match is_name && (is_of_module || self.is_namespace(path, owner)) {
                    true => Some(Label::of(format_args!(".{}", self.text(key)))),
                    false => self.key(key),
                }
            }
            _ => self.name(step),
        }
    }

    /// The object of a path that refers to `to`, whose block or whose part is block `before`, and its place on the
    /// path.
    fn step(&self, path: &[BlockId], before: usize, to: usize) -> Option<(usize, Step)> {
        let block = path[before];
        let step = |from| Step { from, block, to };
        if let Some(from) = self.address(block) {
            return Some((before, step(from)));
        }
        let owner = before.checked_sub(1)?;
        Some((owner, step(self.address(path[owner])?)))
    }

    /// Whether a dict of a path has the attributes of the object before it.
    fn is_namespace(&self, path: &[BlockId], number: usize) -> bool {
        let Some(before) = number.checked_sub(1) else {
            return false;
        };
        let (Some(from), Some(to)) = (self.address(path[before]), self.address(path[number]))
        else {
            return false;
        };
        let block = path[before];
        self.type_at(from).is_some_and(|of_type| {
            let at = self.graph.memory.field(of_type.at, DICT_OFFSET);
            // A dict with a name is the value of an attribute.
            of_type.has_keys && self.name(Step { from, block, to }).is_none()
                || self.graph.memory.field(from, at.unwrap_or(0)) == Some(to)
        })
    }

    /// How an object that is no dict names another one.
    fn name(&self, step: Step) -> Option<Label> {
        let of_type = *self.type_at(step.from)?;
        match of_type.family {
            Family::List => {
                let items = self.graph.memory.field(step.from, ITEMS)?;
                self.item(step, items)
            }
            Family::Tuple => self.item(step, step.from + self.item_offset(&of_type)?),
            Family::Cell => Some(Label::of(format_args!(".cell_contents"))),
            Family::WithFrame => self
                .frame_within(step)
                .and_then(|frame| self.local_variable(&frame, step.to))
                .or_else(|| self.attribute(&of_type, step)),
            _ => self.attribute(&of_type, step),
        }
    }

    /// The number of an item of a list or tuple, whose items begin at an address.
    fn item(&self, step: Step, items: usize) -> Option<Label> {
        let count = self.graph.memory.field(step.from, LENGTH)?;
        let number = |at: usize| Some(at.checked_sub(items)? / 8).filter(|&number| number < count);
        let number = self.words(step).find_map(number)?;
        Some(Label::of(format_args!("[{number}]")))
    }

    /// An attribute that the class of an object names.
    fn attribute(&self, of_type: &Type, step: Step) -> Option<Label> {
        self.words(step).find_map(|at| {
            let member = at.checked_sub(step.from);
            member
                .and_then(|offset| self.member(of_type, offset))
                .or_else(|| self.value(of_type, step, at))
        })
    }

    /// The member of a class at an offset in its objects: what it is in C, or one of `__slots__`.
    fn member(&self, of_type: &Type, offset: usize) -> Option<Label> {
        let memory = &self.graph.memory;
        bases(memory, of_type.at).find_map(|base| {
            let members = memory.field(base, MEMBERS).filter(|&at| at != 0)?;
            for number in 0..MAX_MEMBERS {
                let member = members + number * MEMBER_BYTES;
                let name = memory.far_word(member).filter(|&name| name != 0)?;
                let kind = memory.far_word(member + MEMBER_KIND)? as u32;
                let is_it = memory.far_word(member + MEMBER_OFFSET)? == offset;
                if is_it && OBJECT_MEMBERS.contains(&kind) {
                    let mut buffer = [0; 64];
                    let name = c_text(memory, name, &mut buffer);
                    return Some(Label::of(format_args!(".{name}")));
                }
            }
            None
        })
    }

    /// The attribute whose value is at an address: in the object behind what its class has (from 3.13 on), or in
    /// a block whose address is before the object.
    fn value(&self, of_type: &Type, step: Step, at: usize) -> Option<Label> {
        const BEFORE: [usize; 2] = [24, 32];
        let memory = &self.graph.memory;
        if !of_type.has_keys {
            return None;
        }
        let object = memory.start(memory.block_at(step.from)?);
        let within = step.from + of_type.basic_size;
        let before = BEFORE.iter().filter_map(|offset| {
            // Its lowest bit may be a mark.
            let before = step.from.checked_sub(*offset).filter(|&at| at >= object)?;
            Some(memory.word(before)?.wrapping_add(1) & !7)
        });
        let (start, end) = memory.range(memory.block_at(at)?);
        let mut values = before.chain([within]);
        let values = values.find(|values| (start..end).contains(values) && *values <= at)?;
        let number = (at - value_at(memory, values, 0).min(at)) / 8;
        let mut keys = CLASS_KEYS.step_by(8).filter_map(|offset| {
            let keys = memory.field(of_type.at, offset)?;
            let is_block = memory.start(memory.block_at(keys)?) == keys;
            let keys = Keys::at(memory, keys).filter(|_| is_block);
            keys.filter(Keys::are_shared)
        });
        let key = keys.next()?.key(memory, number)?;
        Some(Label::of(format_args!(".{}", self.text(key))))
    }

    /// The addresses in a step's block that refer to its object.
    fn words(&self, step: Step) -> impl Iterator<Item = usize> + '_ {
        let (start, end) = self.graph.memory.range(step.block);
        let words = (start..end - 7).step_by(8).take(MAX_WORDS);
        words.filter(move |&at| self.graph.memory.word(at).map(|word| word & !7) == Some(step.to))
    }

    /// Where the items of a tuple begin: where an empty one ends.
    fn item_offset(&self, of_type: &Type) -> Option<usize> {
        const OBJECT: usize = 16;
        let sizes = bases(&self.graph.memory, of_type.at);
        let sizes = sizes.filter_map(|base| self.graph.memory.field(base, BASIC_SIZE));
        sizes.take_while(|&size| size > OBJECT).last()
    }

    /// The frame in a generator or frame object.
    fn frame_within(&self, step: Step) -> Option<Frame> {
        let (start, end) = self.graph.memory.range(step.block);
        let offsets = &self.graph.memory.layout.offsets;
        let words = (start..end - 7).step_by(8).rev();
        words.map(|at| at - offsets.code.min(at)).find_map(|frame| {
            let found = read_frame(&self.graph.memory, frame)?;
            (found.locals.1 <= end).then_some(found)
        })
    }

    /// The name of the local variable that refers to an object.
    fn local_variable(&self, frame: &Frame, to: usize) -> Option<Label> {
        let names = self
            .graph
            .memory
            .field(frame.code, self.graph.memory.layout.offsets.local_names)?;
        let (first, end) = frame.locals;
        let number = (first..end).step_by(8).position(|at| {
            let word = self.graph.memory.far_word(at);
            word.map(|word| word & !7) == Some(to)
        })?;
        let of_type = *self.type_at(names)?;
        let name = self
            .graph
            .memory
            .word(names + self.item_offset(&of_type)? + 8 * number)?;
        Some(Label::of(format_args!("{}", self.text(name))))
    }

    /// A key of a dict: `['name']`, `[7]`, or its type.
    fn key(&self, key: usize) -> Option<Label> {
        const DIGITS: usize = 24;
        let of_type = *self.type_at(key)?;
        match of_type.family {
            Family::Text => Some(Label::of(format_args!("['{}']", self.text(key)))),
            Family::Int => {
                let digit = i64::from(self.graph.memory.number(key + DIGITS)?);
                // The count of digits; from 3.12 on behind two bits for the sign and one that says whether it lives
                // for ever.
                match self.graph.memory.field(key, 16)? {
                    0 | 1 | 5 | 8 | 12 => Some(Label::of(format_args!("[{digit}]"))),
                    10 | 14 | usize::MAX => Some(Label::of(format_args!("[{}]", -digit))),
                    _ => Some(Label::of(format_args!("[int]"))),
                }
            }
            _ => {
                let mut buffer = [0; 48];
                let name = self
                    .graph
                    .types
                    .name_of(&of_type, &self.graph.memory, &mut buffer);
                Some(Label::of(format_args!("[{name}]")))
            }
        }
    }

    fn text(&self, string: usize) -> impl fmt::Display {
        let mut characters = ['\0'; 64];
        let mut len = 0;
        for (to, character) in characters
            .iter_mut()
            .zip(self.graph.memory.characters(string))
        {
            *to = character;
            len += 1;
        }
        Text(characters.into_iter().take(len))
    }

    /// The type of the object at an address.
    fn type_at(&self, object: usize) -> Option<&Type> {
        self.graph.types.of_object(&self.graph.memory, object)
    }

    fn address(&self, block: BlockId) -> Option<usize> {
        self.graph.objects.address(&self.graph.memory, block)
    }
}
