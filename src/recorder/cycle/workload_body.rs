//! Runs the cycles of a workload, and handles its model as the strategy says.

use std::io;

use super::cycle_body::{CycleBody, CycleError};
use super::phase_tracker::PhaseTracker;
use super::prediction_files::PredictionFiles;
use super::workload::{Model, Workload};
use crate::model::journal::PREDICTIONS;
use crate::model::plan::Plan;
use crate::model::run::{Phase, Strategy};
use crate::recorder::heap;

/// A workload with the strategy that handles its model.
pub(crate) struct WorkloadBody {
    workload: Box<dyn Workload>,
    strategy: Strategy,
    /// Whether to run the model. If not, a cycle only loads and drops it.
    infer: bool,
    /// The model that [`Strategy::Swap`] replaces in the next cycle.
    old: Option<Box<dyn Model>>,
    /// The models of [`Strategy::Keep`].
    kept: Vec<Box<dyn Model>>,
    /// The predictions of [`Strategy::Slot`].
    predictions: Option<PredictionFiles>,
}

impl WorkloadBody {
    /// A workload with the strategy of a plan.
    ///
    /// # Errors
    /// If the folder for predictions cannot be created.
    pub(crate) fn new(workload: Box<dyn Workload>, plan: &Plan, infer: bool) -> io::Result<Self> {
        let mut kept = Vec::new();
        if plan.strategy == Strategy::Keep {
            // A reallocation of this list in a cycle would be counted as the workload's.
            kept.reserve_exact(plan.cycles as usize);
        }
        let predictions = match plan.strategy {
            Strategy::Slot => Some(PredictionFiles::create(&plan.out.join(PREDICTIONS))?),
            _ => None,
        };
        Ok(Self {
            workload,
            strategy: plan.strategy,
            infer,
            old: None,
            kept,
            predictions,
        })
    }

    fn infer(
        &mut self,
        phases: &mut PhaseTracker,
        model: &mut dyn Model,
    ) -> Result<(), CycleError> {
        if !self.infer {
            return Ok(());
        }
        phases.enter(Phase::Infer);
        let prediction = model.infer()?;
        if let Some(files) = &mut self.predictions {
            // Writing the file is not a part of the workload.
            let _paused = heap::pause();
            files.write(&prediction)?;
        }
        Ok(())
    }
}

impl CycleBody for WorkloadBody {
    fn run_cycle(&mut self, phases: &mut PhaseTracker) -> Result<(), CycleError> {
        let workload = &mut *self.workload;
        let mut model = phases.load(|| workload.load())?;
        // `Swap` is a hot reload: the old model is dropped after the new one was loaded.
        phases.enter(Phase::Drop);
        drop(self.old.take());
        self.infer(phases, &mut *model)?;
        phases.enter(Phase::Drop);
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

    fn sync(&mut self) -> Result<(), CycleError> {
        Ok(self.workload.sync()?)
    }
}
