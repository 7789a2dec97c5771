use loom::sync::mpsc::channel;
use loom::thread::spawn;

use super::{Model, one_block};
use crate::recorder::heap::block_table::BlockTable;
use crate::recorder::heap::counter_row::{KeyedStack, Timestamp};
use crate::recorder::heap::counter_rows::CounterRows;
use crate::recorder::heap::mapping::map;
use crate::recorder::heap::thread_counters::ThreadCounters;
use crate::recorder::primitive::Ordering::Relaxed;
use crate::recorder::primitive::memory::keep;

pub const MODELS: &[Model] = &[
    ("a census finds complete segments", census),
    (
        "the stack of a row that another thread makes",
        stack_of_new_row,
    ),
    ("a thread frees what another has allocated", free),
];

const STACK: KeyedStack = KeyedStack {
    key: 5,
    stack_id: 5,
};
const NOW: Timestamp = Timestamp { birth: 9, epoch: 0 };
/// The first row of the first segment.
const FIRST_ROW: u32 = 1 << crate::recorder::heap::row_segments::INDEX_BITS;

/// The counters of a thread.
fn thread(number: u32) -> &'static ThreadCounters {
    // SAFETY: zeroed, which counters are valid for, and kept until the execution ends.
    let counters: &ThreadCounters = unsafe { &*map(size_of::<ThreadCounters>()).cast() };
    counters.segments.owner.store(number, Relaxed);
    counters
}

fn allocate(rows: &'static CounterRows, thread: &ThreadCounters) -> u32 {
    let row = rows.start(thread, STACK, NOW, None).unwrap();
    thread.add(row, one_block());
    row.id()
}

fn census() {
    let rows = keep(CounterRows::new());
    let reader = spawn(|| {
        rows.for_each(|stack_id, birth, _, blocks| {
            assert_eq!((stack_id, birth, blocks), (STACK.stack_id, NOW.birth, 1));
        });
    });
    allocate(rows, thread(1));
    reader.join().unwrap();
}

fn stack_of_new_row() {
    let rows = keep(CounterRows::new());
    // As one that lists the block table finds its number.
    let reader = spawn(|| rows.stack_and_birth(FIRST_ROW));
    allocate(rows, thread(1));
    reader.join().unwrap();
    let expected = Some((STACK.stack_id, NOW.birth));
    assert_eq!(rows.stack_and_birth(FIRST_ROW), expected);
}

fn free() {
    let rows = keep(CounterRows::new());
    let table = keep(BlockTable::new());
    let (sender, receiver) = channel();
    let address = 16;
    spawn(move || {
        table.insert(address, allocate(rows, thread(1)));
        sender.send(address).unwrap();
    });
    // The program passes the address on.
    let id = table.remove(receiver.recv().unwrap());
    rows.subtract(thread(2), id, one_block());
    rows.for_each(|stack_id, _, _, blocks| panic!("{blocks} blocks of stack {stack_id}"));
}
