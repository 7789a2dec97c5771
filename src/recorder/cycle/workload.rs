//! The traits of a measured workload and its model.

/// Why a workload could not load or infer. It ends the run, and the report shows it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The output of one inference, flattened. [`Strategy::Slot`](crate::Strategy::Slot) writes it to
/// disk.
pub type Prediction = Vec<f32>;

/// Loads a model again and again: the load phase of each cycle.
///
/// A cycle loads the model, lets it infer, and drops it. The measured process does this many times
/// and counts what each cycle leaves behind.
///
/// The workload itself lives for the whole run. What it allocates before the first cycle counts as
/// set-up. What it keeps of a cycle counts as retained by that cycle.
///
/// A command can also take a closure that loads: see `Entry::from_fn` in the module `workloads`.
///
/// # Example: a buffer that is forgotten instead of dropped
/// ```
/// use afterdrop::{Failure, Model, Prediction, Workload};
///
/// struct Forgetful;
/// struct Weights(Vec<f32>);
///
/// impl Workload for Forgetful {
///     fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
///         std::mem::forget(vec![0.0_f32; 256]);
///         Ok(Box::new(Weights(vec![1.0; 256])))
///     }
/// }
///
/// impl Model for Weights {
///     fn infer(&mut self) -> Result<Prediction, Failure> {
///         Ok(vec![self.0.iter().sum()])
///     }
/// }
/// # assert_eq!(Forgetful.load().unwrap().infer().unwrap(), [256.0]);
/// ```
pub trait Workload {
    /// Loads the model from where it is stored.
    ///
    /// # Errors
    /// If the model cannot be loaded. The error ends the run.
    fn load(&mut self) -> Result<Box<dyn Model>, Failure>;

    /// Waits until queued work is done, on a device or in a thread pool. Called at the end of each
    /// cycle, before the census.
    ///
    /// # Errors
    /// If the work failed. The error ends the run.
    fn sync(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Frees memory that is kept for reuse, such as the memory pool of a device. Called at the end
    /// of each cycle of [`Strategy::Session`](crate::Strategy::Session), after the model was
    /// dropped.
    fn cleanup(&mut self) {}
}

/// A loaded model. Dropping it is the drop phase of a cycle.
pub trait Model {
    /// Runs the model once, on the same input in each cycle: the infer phase.
    ///
    /// # Errors
    /// If the model cannot run, or if its output is not the expected one. The error ends the run.
    fn infer(&mut self) -> Result<Prediction, Failure>;
}
