use loom::thread::spawn;

use super::Model;
use crate::recorder::heap::block_table::BlockTable;
use crate::recorder::primitive::memory::keep;

pub const MODELS: &[Model] = &[
    ("threads add levels of the block table", add_levels),
    ("the block table is listed while a level is added", list),
];

/// Addresses in one leaf, and one in another.
const ADDRESSES: [usize; 3] = [16, 0, 32];

fn add_levels() {
    let table = keep(BlockTable::new());
    let other = spawn(|| {
        assert_eq!(table.insert(ADDRESSES[0], 1), Some(0));
        assert_eq!(table.insert(ADDRESSES[2], 2), Some(0));
    });
    assert_eq!(table.insert(ADDRESSES[1], 3), Some(0));
    assert_eq!(table.remove(ADDRESSES[1]), 3);
    other.join().unwrap();
    assert_eq!(ADDRESSES.map(|at| table.get(at)), [1, 0, 2]);
}

fn list() {
    let table = keep(BlockTable::new());
    let reader = spawn(|| {
        table.for_each(|at, number| assert_eq!((at, number), (ADDRESSES[0], 1)));
    });
    table.insert(ADDRESSES[0], 1);
    reader.join().unwrap();
}
