//! What runs in the measured process. It imports only `base` and `model`.

pub(crate) mod arena_heaps;
#[cfg(feature = "live")]
pub(crate) mod before_main;
pub(crate) mod census;
mod counters;
pub(crate) mod cycle;
mod foreign_memory;
pub(crate) mod heap;
pub(crate) mod holders;
pub(crate) mod journal;
#[cfg(feature = "live")]
pub(crate) mod live;
pub(crate) mod pagemap;
pub(crate) mod peak_census;
pub(crate) mod primitive;
pub(crate) mod privileges;
pub(crate) mod proc;
pub(crate) mod smaps;

#[cfg(test)]
mod tests {
    use crate::model::layout::{HOOKS, RECORDER_MANGLED};

    #[test]
    fn the_module_has_the_name_by_which_it_is_told_from_the_program() {
        let module = module_path!().strip_suffix("::tests").unwrap();
        let mangled: String = module
            .split("::")
            .map(|name| format!("{}{name}", name.len()))
            .collect();
        assert_eq!(mangled, RECORDER_MANGLED);
        assert!(std::any::type_name::<super::heap::Heap>().starts_with(HOOKS));
    }
}
