//! The memory of one execution of a model, and the loom objects that belong to its addresses.
//!
//! loom requires that the creation of an object happened before its use. So the first thread creates
//! all objects, and an address gets one when it is first used. Whether the memory itself was mapped
//! before its use is checked by a cell for each mapping: mapping writes it, and each use reads it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64 as Word;

/// Objects of one execution. An execution that needs more panics.
const WORDS: usize = 96;
const CELLS: usize = 32;

/// Enough for each type of the recorder.
const ALIGNMENT: usize = 128;

#[derive(Default)]
struct Memory {
    unused_words: Vec<Rc<Word>>,
    unused_cells: Vec<Rc<UnsafeCell<()>>>,
    words: HashMap<usize, Rc<Word>>,
    cells: HashMap<usize, Rc<UnsafeCell<()>>>,
    mappings: Vec<(Range<usize>, Rc<UnsafeCell<()>>)>,
    blocks: Vec<Block>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

struct Block {
    at: *mut u8,
    layout: Layout,
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `map` with this layout. The execution that used it has ended.
        unsafe { dealloc(self.at, self.layout) };
    }
}

/// Begins an execution; called by its first thread.
pub fn begin() {
    let memory = Memory {
        unused_words: (0..WORDS).map(|_| Rc::new(Word::new(0))).collect(),
        unused_cells: (0..CELLS).map(|_| Rc::new(UnsafeCell::new(()))).collect(),
        ..Memory::default()
    };
    drop(MEMORY.replace(memory));
}

/// The loom object of an atomic.
#[track_caller]
pub fn word(address: usize) -> Rc<Word> {
    read_mapping(address);
    MEMORY.with_borrow_mut(|memory| {
        let unused = &mut memory.unused_words;
        let new = || unused.pop().expect("the model has too many atomics");
        memory.words.entry(address).or_insert_with(new).clone()
    })
}

/// Writes to the cell at an address.
#[track_caller]
pub fn write(address: usize) {
    read_mapping(address);
    let cell = MEMORY.with_borrow_mut(|memory| {
        let unused = &mut memory.unused_cells;
        let new = || unused.pop().expect("the model has too many cells");
        memory.cells.entry(address).or_insert_with(new).clone()
    });
    cell.with_mut(|_| ());
}

#[track_caller]
fn read_mapping(address: usize) {
    let mapping = MEMORY.with_borrow(|memory| {
        let mut mappings = memory.mappings.iter();
        let found = mappings.find(|(range, _)| range.contains(&address));
        found.map(|(_, cell)| cell.clone())
    });
    if let Some(cell) = mapping {
        cell.with(|_| ());
    }
}

/// Zeroed bytes for the rest of the execution.
#[track_caller]
pub fn map(bytes: usize) -> *mut u8 {
    let layout = Layout::from_size_align(bytes.max(1), ALIGNMENT).unwrap();
    // SAFETY: the layout has at least one byte.
    let at = unsafe { alloc_zeroed(layout) };
    assert!(!at.is_null());
    let cell = MEMORY.with_borrow_mut(|memory| {
        memory.blocks.push(Block { at, layout });
        let cell = memory.unused_cells.pop();
        let cell = cell.expect("the model has too many mappings");
        let range = at.addr()..at.addr() + bytes;
        memory.mappings.push((range, cell.clone()));
        cell
    });
    cell.with_mut(|_| ());
    at
}

/// Keeps a value for the rest of the execution.
pub fn keep<T>(value: T) -> &'static T {
    assert!(align_of::<T>() <= ALIGNMENT);
    let at: *mut T = map(size_of::<T>()).cast();
    // SAFETY: mapped above with room for the value, and freed after the threads of the execution
    // have ended.
    unsafe {
        at.write(value);
        &*at
    }
}
