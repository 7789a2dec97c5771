use loom::thread::spawn;

use super::Model;
use crate::recorder::heap::frame_store::HashedFrame;
use crate::recorder::heap::stack_interner::StackInterner;
use crate::recorder::primitive::memory::keep;

pub const MODELS: &[Model] = &[
    ("a stack that is found has its number", find),
    ("a stack is found while its shard grows", find_while_growing),
];

/// Hashes of one shard.
const HASHES: [u64; 2] = [1, 2];

fn intern(stacks: &StackInterner, hash: u64) -> u32 {
    let frames: [HashedFrame; 1] = [(hash as usize, hash)];
    stacks.intern(hash, false, frames.into_iter())
}

fn find() {
    let stacks = keep(StackInterner::new());
    assert_eq!(intern(stacks, HASHES[0]), 1);
    let reader = spawn(|| assert!([None, Some(2)].contains(&stacks.find(HASHES[1]))));
    assert_eq!(intern(stacks, HASHES[1]), 2);
    reader.join().unwrap();
    assert_eq!(intern(stacks, HASHES[1]), 2);
}

fn find_while_growing() {
    let stacks = keep(StackInterner::new());
    let reader = spawn(|| assert!([None, Some(1)].contains(&stacks.find(HASHES[0]))));
    assert_eq!(HASHES.map(|hash| intern(stacks, hash)), [1, 2]);
    reader.join().unwrap();
    assert_eq!(stacks.count(), 2);
}
