//! A workload in cycles: what each strategy does with the model.

use std::io;

use super::body::{Body, Stopped};
use super::marks::Marks;
use super::spill::Spill;
use super::workload::{Model, Workload};
use crate::model::journal::SPILL;
use crate::model::plan::Plan;
use crate::model::run::{Phase, Strategy};
use crate::recorder::heap;

/// A workload, handled by a strategy.
pub(crate) struct Strategies {
    workload: Box<dyn Workload>,
    strategy: Strategy,
    /// Whether cycles infer at all, or only load and drop.
    infer: bool,
    /// The model that [`Strategy::Swap`] replaces in the next cycle.
    old: Option<Box<dyn Model>>,
    /// The models of [`Strategy::Keep`].
    kept: Vec<Box<dyn Model>>,
    /// Where [`Strategy::Slot`] puts its predictions.
    spill: Option<Spill>,
}

impl Strategies {
    /// A workload in the cycles of a plan.
    ///
    /// # Errors
    /// If the folder for predictions cannot be made.
    pub(crate) fn new(workload: Box<dyn Workload>, plan: &Plan, infer: bool) -> io::Result<Self> {
        let mut kept = Vec::new();
        if plan.strategy == Strategy::Keep {
            // So that the registry itself does not grow in a cycle.
            kept.reserve_exact(plan.cycles as usize);
        }
        let spill = match plan.strategy {
            Strategy::Slot => Some(Spill::create(&plan.out.join(SPILL))?),
            _ => None,
        };
        Ok(Self {
            workload,
            strategy: plan.strategy,
            infer,
            old: None,
            kept,
            spill,
        })
    }

    fn infer(&mut self, marks: &mut Marks, model: &mut dyn Model) -> Result<(), Stopped> {
        if !self.infer {
            return Ok(());
        }
        marks.enter(Phase::Infer);
        let prediction = model.infer()?;
        if let Some(spill) = &mut self.spill {
            // The strategy's own work, not the workload's.
            let _paused = heap::pause();
            spill.write(&prediction)?;
        }
        Ok(())
    }
}

impl Body for Strategies {
    fn cycle(&mut self, marks: &mut Marks) -> Result<(), Stopped> {
        let workload = &mut *self.workload;
        let mut model = marks.load(|| workload.load())?;
        // A hot reload: the old model goes once the new one is there.
        marks.enter(Phase::Drop);
        drop(self.old.take());
        self.infer(marks, &mut *model)?;
        marks.enter(Phase::Drop);
        match self.strategy {
            Strategy::Fresh | Strategy::Slot => drop(model),
            Strategy::Session => {
                drop(model);
                self.workload.sync()?;
                self.workload.cleanup();
            }
            Strategy::Swap => self.old = Some(model),
            Strategy::Keep => self.kept.push(model),
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Stopped> {
        Ok(self.workload.sync()?)
    }
}
