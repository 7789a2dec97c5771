use loom::thread::spawn;

use super::{Model, SIZE, one_block};
use crate::recorder::heap::counter_row::{CounterRow, KeyedStack, RowCounters, RowInfo, Timestamp};
use crate::recorder::heap::mapping::map;
use crate::recorder::primitive::UnsafeCell;
use crate::recorder::primitive::memory::keep;

pub const MODELS: &[Model] = &[
    ("a census counts no block twice", count_once),
    ("an empty row counts nothing while it is restarted", restart),
    (
        "a row is restarted after all that freed its blocks",
        last_free,
    ),
];

/// A row without blocks, for a stack of this number that is born at it too.
fn new_row(number: u32) -> CounterRow {
    // SAFETY: zeroed, which both parts are valid for, and kept until the execution ends.
    let row = unsafe {
        CounterRow {
            counters: &*map(size_of::<RowCounters>()).cast(),
            info: &*map(size_of::<RowInfo>()).cast(),
        }
    };
    restart_for(row, number);
    row
}

fn restart_for(row: CounterRow, number: u32) {
    let stack = KeyedStack {
        key: number.into(),
        stack_id: number,
    };
    let now = Timestamp {
        birth: number,
        epoch: 0,
    };
    row.restart(stack, now);
}

/// Panics if a census would count more than these blocks.
fn assert_at_most(row: CounterRow, most: i32) {
    let Some((stack_id, birth, bytes, blocks)) = row.snapshot() else {
        return;
    };
    assert_eq!(stack_id, birth, "the stack of one and the birth of another");
    assert!(blocks <= most, "{blocks} blocks");
    assert!(bytes <= i64::from(most) * SIZE, "{bytes} bytes");
}

fn count_once() {
    let row = new_row(1);
    let reader = spawn(move || assert_at_most(row, 1));
    // Each block is freed before the next is allocated: two as by another thread.
    for _ in 0..2 {
        row.counters.add(one_block());
        row.info.subtract(one_block());
    }
    row.counters.add(one_block());
    row.counters.subtract(one_block());
    reader.join().unwrap();
    assert_at_most(row, 0);
}

fn restart() {
    let row = new_row(1);
    row.counters.add(one_block());
    row.info.subtract(one_block());
    let reader = spawn(move || assert_at_most(row, 0));
    restart_for(row, 2);
    reader.join().unwrap();
    assert_eq!(row.snapshot(), Some((2, 2, 0, 0)));
}

fn last_free() {
    let row = new_row(1);
    row.counters.add(one_block());
    // In place of the bytes: loom lets no subtraction be later than a store that was executed after
    // it, but it sees whether the two are ordered.
    let freed = keep(UnsafeCell::new(()));
    let owner = spawn(move || {
        if row.blocks() == 0 {
            freed.get();
            restart_for(row, 2);
        }
    });
    freed.get();
    row.info.subtract(one_block());
    owner.join().unwrap();
    assert_eq!((row.blocks(), row.bytes()), (0, 0));
}
