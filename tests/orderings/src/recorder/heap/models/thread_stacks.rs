use loom::thread::spawn;

use super::Model;
use crate::recorder::heap::stack_memory::StackBounds;
use crate::recorder::heap::thread_stacks::{add, iter};

pub const MODELS: &[Model] = &[("a listed stack has both its bounds", both_bounds)];

fn both_bounds() {
    let bounds = [1, 2].map(|low| StackBounds { low, high: 9 });
    let other = spawn(move || {
        add(bounds[0]);
        assert!(iter().all(|found| bounds.contains(&found)));
    });
    add(bounds[1]);
    other.join().unwrap();
    assert!(
        bounds
            .iter()
            .all(|wanted| iter().any(|found| found == *wanted))
    );
}
