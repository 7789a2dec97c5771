//! The planted cases of `fixtures/holders/`: leaks whose holder is known.

use super::Entry;
use super::planted::{Case, Held, Planted, entry};
use crate::model::holders::HolderKind;
use crate::model::run::Phase;
use crate::model::verdict::Verdict;

#[path = "../../fixtures/holders/arc_cycle.rs"]
mod arc_cycle;
#[path = "../../fixtures/holders/arc_cycle_of_fifty.rs"]
mod arc_cycle_of_fifty;
#[path = "../../fixtures/holders/c_memory.rs"]
mod c_memory;
#[path = "../../fixtures/holders/channel_queue.rs"]
mod channel_queue;
#[path = "../../fixtures/holders/cycle_in_static.rs"]
mod cycle_in_static;
#[path = "../../fixtures/holders/detached_thread.rs"]
mod detached_thread;
#[path = "../../fixtures/holders/inside_pointer.rs"]
mod inside_pointer;
#[path = "../../fixtures/holders/lazy_hash_map.rs"]
mod lazy_hash_map;
#[path = "../../fixtures/holders/leaked_into_static.rs"]
mod leaked_into_static;
#[path = "../../fixtures/holders/libc_static.rs"]
mod libc_static;
#[path = "../../fixtures/holders/lost_parent.rs"]
mod lost_parent;
#[path = "../../fixtures/holders/main_thread_local.rs"]
mod main_thread_local;
#[path = "../../fixtures/holders/once_lock.rs"]
mod once_lock;
#[path = "../../fixtures/holders/only_in_register.rs"]
mod only_in_register;
#[path = "../../fixtures/holders/rc_cycle_of_fifty.rs"]
mod rc_cycle_of_fifty;
#[path = "../../fixtures/holders/running_local.rs"]
mod running_local;
#[path = "../../fixtures/holders/static_mutex.rs"]
mod static_mutex;
#[path = "../../fixtures/holders/tagged_pointer.rs"]
mod tagged_pointer;
#[path = "../../fixtures/holders/weak_only.rs"]
mod weak_only;

macro_rules! case {
    ($name:ident) => {
        (
            stringify!($name),
            &$name::CASE,
            include_str!(concat!("../../fixtures/holders/", stringify!($name), ".rs")),
        )
    };
}

const CASES: &[Planted] = &[
    case!(static_mutex),
    case!(once_lock),
    case!(lazy_hash_map),
    case!(main_thread_local),
    case!(libc_static),
    case!(running_local),
    case!(channel_queue),
    case!(detached_thread),
    case!(leaked_into_static),
    case!(rc_cycle_of_fifty),
    case!(arc_cycle),
    case!(arc_cycle_of_fifty),
    case!(cycle_in_static),
    case!(weak_only),
    case!(lost_parent),
    case!(only_in_register),
    case!(tagged_pointer),
    case!(inside_pointer),
    case!(c_memory),
];

pub(super) fn entries() -> Vec<Entry> {
    let entries = CASES.iter().map(|case| entry("held", "holders", case));
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_marks_its_line_and_states_its_holder() {
        for (name, case, text) in CASES {
            assert!(text.contains("// PLANTED"), "{name}");
            assert_ne!(case.held, Held::Untold, "{name}");
        }
    }

    #[test]
    fn every_file_in_the_folder_is_a_case() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/holders");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, CASES.len());
    }
}
