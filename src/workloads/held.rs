//! The planted cases of `fixtures/holders/`: leaks whose holder is known.

use super::case::Planted;
use super::entry::Entry;

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
#[path = "../../fixtures/holders/list_with_cursor.rs"]
mod list_with_cursor;
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

macro_rules! cases {
    ($($name:ident)*) => {
        &[$(Planted {
            name: stringify!($name),
            case: &$name::CASE,
            text: include_str!(concat!("../../fixtures/holders/", stringify!($name), ".rs")),
        }),*]
    };
}

/// All cases, by the kind of their holder.
const CASES: &[Planted] = cases![
    static_mutex
    once_lock
    lazy_hash_map
    main_thread_local
    libc_static
    running_local
    channel_queue
    detached_thread
    leaked_into_static
    rc_cycle_of_fifty
    arc_cycle
    arc_cycle_of_fifty
    cycle_in_static
    list_with_cursor
    weak_only
    lost_parent
    only_in_register
    tagged_pointer
    inside_pointer
    c_memory
];

pub(super) fn entries() -> Vec<Entry> {
    let entries = CASES.iter().map(|case| case.entry("held", "holders"));
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::case::{Held, MARKER, marked_line};

    #[test]
    fn every_case_marks_its_line_and_states_its_holder() {
        for Planted { name, case, text } in CASES {
            assert!(marked_line(text, MARKER).is_some(), "{name}");
            assert_ne!(case.held, Held::Unstated, "{name}");
        }
    }

    #[test]
    fn every_file_in_the_folder_is_a_case() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/holders");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, CASES.len());
    }
}
