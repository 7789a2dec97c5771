//! Which blocks are objects of Python's.
//!
//! An object begins at its block's start, behind the links of the collector of garbage, or behind these and the
//! pointers to its attributes.

use super::dicts::Keys;
use super::memory::Memory;
use super::types::{Family, NO_TYPE, TYPE, Type, TypeId, Types};
use crate::recorder::heap::{MappedVec, NoMemory};
use crate::recorder::holders::index::BlockId;

// Offsets in a list; the first also in a tuple.
pub(super) const LENGTH: usize = 16;
pub(super) const ITEMS: usize = 24;

// Offset in a set.
const SET_ENTRIES: usize = 40;

/// Where an object may begin in its block.
const STARTS: [usize; 3] = [0, 16, 32];

/// Bytes of the collector's links, `PyGC_Head`, before an object.
const LINKS: usize = 16;

/// The lowest bits of a link are marks of the collector's.
const MARKS: usize = 7;

/// Where the object of a block begins, and what is special of it.
#[derive(Clone, Copy, Default)]
struct Place {
    offset: u8,
    /// It is in one of the collector's lists.
    is_linked: bool,
    /// It is no object, but one was freed there, and the interpreter keeps the block for the next one.
    is_freed: bool,
    is_weak_reference: bool,
    /// It has the entries of a dict or of a set, each with a hash, which for an address is the address.
    hashes: Hashes,
    /// One more than the words of the block up to where those end that mean something; 0 if that is not known.
    words: u32,
}

/// Which entries with hashes a block has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hashes {
    #[default]
    None,
    /// Of a dict with keys of any kind.
    OfDict,
    /// Of a set.
    OfSet,
}

/// The objects by their blocks.
pub(super) struct Objects {
    types: MappedVec<TypeId>,
    places: MappedVec<Place>,
}

impl Objects {
    /// Looks at all blocks, of which there are `count`.
    pub(super) fn new(
        memory: &Memory<'_>,
        types: &mut Types,
        count: BlockId,
    ) -> Result<Self, NoMemory> {
        let mut objects = Self {
            types: MappedVec::new(),
            places: MappedVec::new(),
        };
        objects.types.reset(count as usize, NO_TYPE)?;
        objects.places.reset(count as usize, Place::default())?;
        for block in 0..count {
            let (start, end) = memory.range(block);
            let Some((id, offset, state)) = find(memory, types, start, end)? else {
                continue;
            };
            if state == State::Freed {
                objects.places.as_mut_slice()[block as usize].is_freed = true;
                continue;
            }
            objects.types.as_mut_slice()[block as usize] = id;
            let of_type = types.get(id);
            let object_end = of_type.and_then(|found| end_of(memory, found, start + offset, end));
            objects.places.as_mut_slice()[block as usize] = Place {
                offset: offset as u8,
                is_linked: offset >= LINKS && is_linked(memory, start + offset - LINKS),
                words: object_end.map_or(0, |end| words(start, end)),
                is_freed: false,
                hashes: Hashes::None,
                is_weak_reference: of_type.is_some_and(|t| t.family == Family::WeakReference),
            };
        }
        for block in 0..count {
            objects.find_end(memory, types, block);
        }
        Ok(objects)
    }

    /// Finds where the items of the list in a block end, or the keys of the dict. Behind it are words that were left
    /// there.
    fn find_end(&mut self, memory: &Memory<'_>, types: &Types, block: BlockId) {
        let family = types.get(self.type_of(block)).map(|found| found.family);
        let object = self.address(memory, block);
        let part = object.and_then(|object| match family? {
            Family::Set => {
                // A small set has its entries in itself.
                let entries = memory.field(object, SET_ENTRIES)?;
                let block = memory.block_at(entries)?;
                self.places.as_mut_slice()[block as usize].hashes = Hashes::OfSet;
                None
            }
            Family::List => {
                let items = memory.field(object, ITEMS)?;
                let end = items.checked_add(memory.field(object, LENGTH)?.checked_mul(8)?)?;
                Some((items, end, false))
            }
            Family::Dict => {
                Keys::of(memory, object).map(|(at, keys)| (at, keys.end(), keys.have_hashes()))
            }
            _ => None,
        });
        let Some((part, end, has_hashes)) = part else {
            return;
        };
        if let Some(block) = memory.block_at(part)
            && memory.start(block) == part
            && self.type_of(block) == NO_TYPE
        {
            let place = &mut self.places.as_mut_slice()[block as usize];
            place.words = words(part, end);
            if has_hashes {
                place.hashes = Hashes::OfDict;
            }
        }
    }

    /// The number of blocks.
    pub(super) fn count(&self) -> BlockId {
        self.types.as_slice().len() as BlockId
    }

    /// The number of the type of the object in a block; [`NO_TYPE`] if it has none.
    pub(super) fn type_of(&self, block: BlockId) -> TypeId {
        self.types.as_slice()[block as usize]
    }

    /// The address of the object in a block.
    pub(super) fn address(&self, memory: &Memory<'_>, block: BlockId) -> Option<usize> {
        let is_object = self.type_of(block) != NO_TYPE;
        is_object.then(|| memory.start(block) + usize::from(self.place(block).offset))
    }

    /// Whether the object in a block is in one of the collector's lists.
    pub(super) fn is_linked(&self, block: BlockId) -> bool {
        self.place(block).is_linked
    }

    /// Which entries with hashes a block has.
    #[inline]
    pub(super) fn hashes(&self, block: BlockId) -> Hashes {
        self.place(block).hashes
    }

    /// Whether a block is kept for the next object. What is in it refers to nothing but the next such block.
    #[inline]
    pub(super) fn is_freed(&self, block: BlockId) -> bool {
        self.place(block).is_freed
    }

    /// Whether a pointer to this byte of a block is one of the collector's links.
    #[inline]
    pub(super) fn is_link(&self, block: BlockId, offset: usize) -> bool {
        let place = self.place(block);
        place.is_linked && offset & !MARKS == usize::from(place.offset) - LINKS
    }

    /// The address of the collector's links in a block.
    #[inline]
    pub(super) fn links(&self, memory: &Memory<'_>, block: BlockId) -> Option<usize> {
        let place = self.place(block);
        let offset = usize::from(place.offset);
        place
            .is_linked
            .then(|| memory.start(block) + offset - LINKS)
    }

    /// The address of the weak reference in a block.
    #[inline]
    pub(super) fn weak_reference(&self, memory: &Memory<'_>, block: BlockId) -> Option<usize> {
        match self.place(block).is_weak_reference {
            true => self.address(memory, block),
            false => None,
        }
    }

    /// Where the words of a block end that mean something, if that is known and before the block's end.
    #[inline]
    pub(super) fn end(&self, block: BlockId, start: usize) -> Option<usize> {
        match self.place(block).words {
            0 => None,
            words => Some(start + 8 * (words as usize - 1)),
        }
    }

    fn place(&self, block: BlockId) -> Place {
        self.places.as_slice()[block as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Freed,
}

/// The type of the object in a block, and where it begins there.
fn find(
    memory: &Memory<'_>,
    types: &mut Types,
    start: usize,
    end: usize,
) -> Result<Option<(TypeId, usize, State)>, NoMemory> {
    for offset in STARTS {
        let object = start + offset;
        if object + TYPE + 8 > end {
            break;
        }
        let (Some(references), Some(of_type)) = (memory.word(object), memory.word(object + TYPE))
        else {
            continue;
        };
        // The block of a freed object has the address of the next one there.
        let is_freed = references == 0 || memory.block_at(references).is_some();
        if !is_freed && !is_count(references) {
            continue;
        }
        let id = types.number(memory, of_type)?;
        let Some(found) = types.get(id) else {
            continue;
        };
        // A short text is smaller than its type says.
        let least = match found.family {
            Family::Text => memory.layout.offsets.ascii,
            _ => found.basic_size,
        };
        let size = object.checked_add(least);
        let starts: &[usize] = if found.is_collected {
            &[16, 32]
        } else {
            &[0, 16]
        };
        if !starts.contains(&offset) || size.is_none_or(|after| after > end) {
            continue;
        }
        // Of the types whose freed objects are kept, those that refer to others.
        let is_kept = matches!(found.family, Family::List | Family::Tuple | Family::Dict);
        match is_freed {
            false => return Ok(Some((id, offset, State::Live))),
            true if is_kept => return Ok(Some((id, offset, State::Freed))),
            true => {}
        }
    }
    Ok(None)
}

/// One more than the words from the start of a block to an end; 0 if these are too many.
fn words(start: usize, end: usize) -> u32 {
    u32::try_from(end.saturating_sub(start) / 8 + 1).unwrap_or(0)
}

/// Where the words of an object end that may refer to others: behind it, the allocator has left what was there before.
fn end_of(memory: &Memory<'_>, of_type: &Type, object: usize, block_end: usize) -> Option<usize> {
    /// Bytes of a block behind an object, at most, where the allocator has rounded up.
    const ROUNDED: usize = 16;
    const ASCII: u32 = 1 << 6;
    let offsets = &memory.layout.offsets;
    let end = match of_type.family {
        Family::Int | Family::Bytes if of_type.is_exact => return Some(object + TYPE),
        Family::Text if of_type.is_exact => {
            return match memory.number(object + offsets.text_state)? & ASCII {
                // The text in UTF-8 is another block.
                0 => Some(object + offsets.characters),
                _ => Some(object + TYPE),
            };
        }
        // Its instructions have addresses that they do not own.
        Family::Code => return Some(object + offsets.bytecode),
        Family::Tuple if of_type.is_exact => {
            let items = memory
                .field(object, LENGTH)?
                .checked_mul(of_type.item_size)?;
            object.checked_add(of_type.basic_size)?.checked_add(items)?
        }
        _ if of_type.item_size == 0 && !of_type.has_keys => object + of_type.basic_size,
        _ => return None,
    };
    (end <= block_end && block_end - end < ROUNDED).then_some(end)
}

/// Whether a word may be a count of references: few, or the count of an object that lives for ever.
fn is_count(word: usize) -> bool {
    const FEW: usize = 1 << 24;
    const FOR_EVER: usize = 1 << 30;
    let count = references(word);
    count != 0 && !(FEW..FOR_EVER).contains(&count)
}

/// The count of references in the first word of an object.
pub(super) fn references(word: usize) -> usize {
    word & 0xffff_ffff
}

/// Whether there are links at an address: the one before has this as its next.
fn is_linked(memory: &Memory<'_>, links: usize) -> bool {
    let before = memory.word(links + 8).map_or(0, |before| before & !MARKS);
    before != 0
        && memory
            .word(before)
            .is_some_and(|next| next & !MARKS == links)
}
