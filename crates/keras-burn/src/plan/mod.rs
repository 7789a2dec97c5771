//! A model as it will run, without its weights: the layers and operations of its configuration, in
//! the order in which they are called, and the shape and type of every tensor.

mod check;
mod input;
mod model;
mod of_file;
mod schedule;
mod shapes;
mod types;

pub use input::Input;
pub(crate) use model::{Does, LayerNode, ModelPlan};
pub use of_file::Plan;
