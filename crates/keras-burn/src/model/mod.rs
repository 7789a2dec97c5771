//! A model with its weights: where a file has the weights of each layer, and the layers built from
//! them.

mod graph;
mod locate;

pub(crate) use graph::Graph;
