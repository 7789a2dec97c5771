use loom::thread::spawn;

use super::{Model, one_block};
use crate::recorder::heap::counter_row::{KeyedStack, Timestamp};
use crate::recorder::heap::counter_rows::CounterRows;
use crate::recorder::heap::thread_counters::{StrayFrees, Totals};
use crate::recorder::heap::thread_record::ThreadRecords;
use crate::recorder::primitive::memory::keep;

pub const MODELS: &[Model] = &[(
    "a record passes to the next thread with its counts",
    hand_over,
)];

/// A thread that allocates one block.
fn run(records: &'static ThreadRecords, rows: &'static CounterRows) {
    let record = records.take().unwrap();
    // As a hook does.
    record.caches.get();
    let stack = KeyedStack {
        key: 5,
        stack_id: 5,
    };
    let now = Timestamp { birth: 9, epoch: 0 };
    let row = rows.start(&record.counters, stack, now, None).unwrap();
    record.counters.add(row, one_block());
    records.give_back(record);
}

fn live_blocks(records: &'static ThreadRecords) -> u64 {
    Totals::sum(records.counters(), StrayFrees::default()).live_blocks
}

fn hand_over() {
    let records = keep(ThreadRecords::new());
    let rows = keep(CounterRows::new());
    let other = spawn(|| run(records, rows));
    run(records, rows);
    assert!(live_blocks(records) <= 2);
    other.join().unwrap();
    assert_eq!(live_blocks(records), 2);
    let mut in_rows = 0;
    rows.for_each(|_, _, _, blocks| in_rows += blocks);
    assert_eq!(in_rows, 2);
}
