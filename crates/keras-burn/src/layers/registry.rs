//! The registry of all classes of layers.

use super::class::Class;
use super::{
    activation, bidirectional, conv, conv_transpose, dense, dot, inert, masking, merge, multi_head,
    norm, pool, recurrent, reshape, resize, scaling, time_distributed,
};

/// The classes of each family: one line a file.
const FAMILIES: &[&[Class]] = &[
    activation::CLASSES,
    bidirectional::CLASSES,
    conv::CLASSES,
    conv_transpose::CLASSES,
    dense::CLASSES,
    dot::CLASSES,
    inert::CLASSES,
    masking::CLASSES,
    merge::CLASSES,
    multi_head::CLASSES,
    norm::CLASSES,
    pool::CLASSES,
    recurrent::CLASSES,
    reshape::CLASSES,
    resize::CLASSES,
    scaling::CLASSES,
    time_distributed::CLASSES,
];

fn all() -> impl Iterator<Item = &'static Class> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The class of this name.
pub(crate) fn find(name: &str) -> Option<&'static Class> {
    all().find(|class| class.name == name)
}

/// The names of the classes that do something in a prediction, sorted.
pub(crate) fn names() -> Vec<&'static str> {
    let classes = all().filter(|class| !class.is_inert);
    let mut names: Vec<&str> = classes.map(|class| class.name).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_one_entry() {
        let mut names: Vec<&str> = all().map(|class| class.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(super::names().len(), 56);
        assert!(find("Dense").is_some() && find("Lambda").is_none());
    }
}
