use loom::thread::spawn;

use super::Model;
use crate::recorder::heap::spin_lock::SpinLock;
use crate::recorder::primitive::memory::keep;

pub const MODELS: &[Model] = &[(
    "the next holder of a lock sees what the last wrote",
    next_holder,
)];

fn next_holder() {
    let sum = keep(SpinLock::new(0));
    let other = spawn(|| *sum.lock() += 1);
    *sum.lock() += 1;
    other.join().unwrap();
    assert_eq!(*sum.lock(), 2);
}
