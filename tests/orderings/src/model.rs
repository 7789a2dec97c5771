//! The types of `src/model` that the recorder's shared data use.
#![allow(dead_code)]

#[path = "../../../src/model/block.rs"]
pub mod block;
