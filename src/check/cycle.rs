//! The argument of a check's closure, and what the closure may return.

use std::fmt::Display;

use crate::model::run::Phase;
use crate::recorder::cycle::{Body, Marks, Stopped};

/// The running cycle of a [`Check`](crate::Check).
///
/// Its methods mark the phases of the cycle. The report says in which phase each block was
/// allocated. A block that is allocated outside of the marked phases belongs to the phase `cycle`.
#[derive(Debug)]
pub struct Cycle<'a> {
    pub(super) marks: &'a mut Marks,
}

impl Cycle<'_> {
    /// Runs a function in the load phase, and returns what it returns.
    pub fn load<R>(&mut self, load: impl FnOnce() -> R) -> R {
        let loaded = self.marks.load(load);
        self.marks.enter(Phase::Cycle);
        loaded
    }

    /// Runs a function in the infer phase, and returns what it returns.
    pub fn infer<R>(&mut self, infer: impl FnOnce() -> R) -> R {
        self.within(Phase::Infer, infer)
    }

    /// Runs a function in the drop phase, and returns what it returns.
    ///
    /// A value that the closure drops at its end is dropped in the phase `cycle`. Allocations of its
    /// destructor belong to the drop phase only if it is dropped in here.
    pub fn drop<R>(&mut self, drop: impl FnOnce() -> R) -> R {
        self.within(Phase::Drop, drop)
    }

    /// The number of this cycle. The first is 1.
    pub fn number(&self) -> u32 {
        self.marks.cycle()
    }

    fn within<R>(&mut self, phase: Phase, f: impl FnOnce() -> R) -> R {
        self.marks.enter(phase);
        let result = f();
        self.marks.enter(Phase::Cycle);
        result
    }
}

/// What the closure of a check may return: `()`, a `Result` whose error implements `Display`, or the
/// type of a closure that never returns, such as `|_| panic!()`.
///
/// Such a closure compiles in each edition. In edition 2021 its type falls back to `()`:
///
/// ```edition2021,no_run
/// afterdrop::Check::new("panics").run(|_| panic!("not implemented"));
/// ```
///
/// In edition 2024 its type falls back to `!`:
///
/// ```edition2024,no_run
/// afterdrop::Check::new("panics").run(|_| panic!("not implemented"));
/// ```
pub trait CycleResult {
    /// The result of the cycle.
    ///
    /// # Errors
    /// If the cycle failed: the error with its causes, as `{:#}` formats it.
    fn into_result(self) -> Result<(), String>;
}

impl CycleResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: Display> CycleResult for Result<T, E> {
    fn into_result(self) -> Result<(), String> {
        self.map(drop).map_err(|error| format!("{error:#}"))
    }
}

/// The type `!`, which has no name in stable Rust: the output of a function pointer that never
/// returns.
type Never = <fn() -> ! as Returns>::Output;

/// A function pointer, and what it returns. It is public because `impl CycleResult for Never` shows it,
/// and cannot be named outside of this module.
pub trait Returns {
    /// The returned type.
    type Output;
}

impl<R> Returns for fn() -> R {
    type Output = R;
}

impl CycleResult for Never {
    fn into_result(self) -> Result<(), String> {
        self
    }
}

/// A closure that runs one cycle.
pub(super) struct Closure<F>(pub(super) F);

impl<R: CycleResult, F: FnMut(&mut Cycle<'_>) -> R> Body for Closure<F> {
    fn cycle(&mut self, marks: &mut Marks) -> Result<(), Stopped> {
        let result = (self.0)(&mut Cycle { marks });
        result.into_result().map_err(Stopped::Workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_that_can_be_displayed_ends_a_cycle() {
        assert!(().into_result().is_ok());
        assert!(Ok::<i32, std::fmt::Error>(1).into_result().is_ok());
        let text = Err::<(), &str>("no").into_result();
        assert_eq!(text, Err("no".into()));
        let boxed: Box<dyn std::error::Error> = "any".into();
        assert_eq!(Err::<(), _>(boxed).into_result(), Err("any".into()));
    }
}
