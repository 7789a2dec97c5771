//! A workload made from a closure that loads, and a model made from a closure that infers.

use std::cell::RefCell;
use std::rc::Rc;

use super::workload::{Failure, Model, Prediction, Workload};

/// A closure that loads the model. Clones share the closure and what it has captured.
pub(crate) struct Closure<L>(Rc<RefCell<L>>);

impl<L> Closure<L> {
    pub(crate) fn new(load: L) -> Self {
        Self(Rc::new(RefCell::new(load)))
    }
}

impl<L> Clone for Closure<L> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<L, M> Workload for Closure<L>
where
    L: FnMut() -> Result<M, Failure>,
    M: FnMut() -> Result<Prediction, Failure> + 'static,
{
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        // Only `load` borrows the closure, and a closure cannot call itself.
        let infer = (self.0.borrow_mut())()?;
        Ok(Box::new(Loaded(infer)))
    }
}

/// A model that is a closure.
struct Loaded<M>(M);

impl<M: FnMut() -> Result<Prediction, Failure>> Model for Loaded<M> {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        (self.0)()
    }
}
