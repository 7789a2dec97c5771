//! The layers, one file a family.
//!
//! # How to add a layer
//! A class of layers is one [`Class`] in the `CLASSES` of its family's file; the name that Keras has
//! for it is there and nowhere else. For a new family, write a file, declare it below, and add its
//! `CLASSES` to the table in `registry.rs`. A class takes:
//! 1. a function that reads the layer's [`Settings`](crate::config::settings::Settings) into a
//!    [`LayerPlan`], and refuses those that are not supported: nothing that would change a prediction
//!    may be ignored;
//! 2. the plan: the shapes of its outputs, its large temporary tensors (taken from the
//!    [`Budget`](crate::tensor::budget::Budget)), how many weights it has and where a `.keras` archive
//!    keeps them, and how it is built from them;
//! 3. the [`Layer`]: the plan with its weights, and how it runs. A layer without weights is its own
//!    plan ([`Weightless`](class::Weightless)). It checks its inputs before it computes, so that a file that does not fit is an error and
//!    never a panic;
//! 4. where they differ from most layers': the parameters of its call
//!    ([`Class::called`](class::Class::called)) and the type of its results
//!    ([`Class::gives`](class::Class::gives)).
//!
//! Then add a model with the layer to `fixtures/keras/make_variants.py`, which stores what Keras
//! itself predicts.

mod activation;
mod attention_axes;
mod attention_mask;
mod bidirectional;
mod class;
mod conv;
mod conv_transpose;
mod dense;
mod dot;
mod inert;
mod masking;
mod merge;
mod multi_head;
mod norm;
mod pool;
mod recurrent;
pub(crate) mod registry;
mod reshape;
mod resize;
mod scaling;
mod time_distributed;
mod weights;
mod window;

pub(crate) use activation::Activation;
pub(crate) use class::{Folder, Kwargs, Layer, PlannedLayer};
pub(crate) use time_distributed::{fold_steps, run_on_steps, unfold_steps};
pub(crate) use weights::LayerWeights;
