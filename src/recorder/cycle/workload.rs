//! What a workload is.

/// Why a workload could not load or infer. It ends the run, and the report says so.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The output of one inference, flattened; what the `slot` strategy writes to disk.
pub type Prediction = Vec<f32>;

/// Something with load, infer and drop, which the measured process runs in cycles.
///
/// The workload itself lives for the whole run: what it holds is set-up, not a cycle's. It should
/// keep nothing of a cycle, because that is what is measured.
///
/// # Example: a model that is forgotten in place of dropped
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
    /// Loads the model anew, from where it is stored.
    ///
    /// # Errors
    /// Whatever keeps it from being loaded.
    fn load(&mut self) -> Result<Box<dyn Model>, Failure>;

    /// Waits until work that was queued elsewhere (a device, a pool) is done. Called before each
    /// boundary.
    ///
    /// # Errors
    /// What the device reports.
    fn sync(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Gives back what is kept for reuse. Called at the end of each session of
    /// [`Strategy::Session`](crate::Strategy::Session), after the model was dropped.
    fn cleanup(&mut self) {}
}

/// A loaded model. Dropping it is the third phase of a cycle.
pub trait Model {
    /// Runs the model once, on the same input each time.
    ///
    /// # Errors
    /// Whatever keeps it from running, a wrong output included: a workload that knows its
    /// expected output should compare.
    fn infer(&mut self) -> Result<Prediction, Failure>;
}
