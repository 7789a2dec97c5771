//! Objects of Python's that survive, by type.

use crate::base::json::fields;

/// The objects of a type that cycles leave behind.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ObjectGrowth {
    /// The name of the type, without its module.
    pub type_name: String,
    /// Objects that a cycle leaves behind: the median over the generations after the warm-up.
    pub per_cycle: f64,
    /// Objects of generations after the warm-up that are live at the last holder search.
    pub retained: u64,
    /// Generations after the warm-up with such an object.
    pub generations: u32,
}

fields! { ObjectGrowth { type_name, per_cycle, retained, generations } }
