//! Whether there is memory for what a file says about its code. Without it, a report has no lines, which is
//! better than no report: an allocation that fails ends the process.

use std::hint::black_box;

use object::{Object, ObjectSection};

use super::elf_file::Headers;

/// What is needed besides the sections: pages of them, units that are looked into, and the report.
const MARGIN: u64 = 20 << 20;

/// What a single look-up needs at most, as far as it is known.
const LOOK_UP: u64 = 4 << 20;

/// Sections with the symbols.
const SYMBOLS: [&str; 2] = [".symtab", ".strtab"];

/// Sections from which the table of all units is made.
const UNITS: [&str; 3] = [".debug_aranges", ".debug_ranges", ".debug_rnglists"];

/// Whether there is room for the functions of a file.
pub(super) fn has_functions(file: &Headers<'_>) -> bool {
    is_free(MARGIN + 2 * size(file, &SYMBOLS))
}

/// Whether there is room for the table of all units of a file, and for some of its units.
pub(super) fn has_units(file: &Headers<'_>) -> bool {
    is_free(MARGIN + 2 * size(file, &UNITS))
}

/// Whether there is room for one more look-up.
pub(super) fn has_look_up() -> bool {
    is_free(LOOK_UP)
}

fn size(file: &Headers<'_>, sections: &[&str]) -> u64 {
    let sections = sections.iter();
    let sizes = sections.filter_map(|name| Some(file.parsed.section_by_name(name)?.size()));
    // A damaged header may state any size.
    sizes.map(|size| size.min(file.elf.length())).sum()
}

fn is_free(bytes: u64) -> bool {
    let mut room: Vec<u8> = Vec::new();
    let is_free = room.try_reserve_exact(bytes as usize).is_ok();
    // Otherwise the compiler may leave it out, and say that there is room.
    black_box(&room);
    is_free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_process_can_have_is_not_free() {
        assert!(is_free(1));
        assert!(!is_free(i64::MAX as u64));
        assert!(!is_free(u64::MAX));
        assert!(!is_free(1 << 50), "no machine has a petabyte of addresses");
    }
}
