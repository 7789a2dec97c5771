//! The functions of a binary, by address and by a part of their names.

use memchr::memmem;

/// The maximum number of bytes of a mangled name before the part that is searched for.
const MAX_PREFIX: usize = 1 << 16;

/// A function of a symbol table. The order is that of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Function {
    pub(super) address: u64,
    /// Size in bytes; 0 if the symbol table does not state it.
    pub(super) size: u64,
    /// Where the mangled name begins in the string table.
    pub(super) name: u32,
}

/// The functions of a binary, sorted by address.
#[derive(Default)]
pub(super) struct Functions {
    functions: Vec<Function>,
    /// The string table: names, each followed by a zero byte.
    names: Vec<u8>,
}

impl Functions {
    pub(super) fn new(functions: impl Iterator<Item = Function>, names: Vec<u8>) -> Self {
        let mut functions: Vec<Function> = functions.collect();
        functions.sort_unstable();
        Self { functions, names }
    }

    /// The mangled name of the function at an address.
    pub(super) fn at(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|f| f.address <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        // Assembly code may state no size: then the function extends to the next one.
        if function.size != 0 && address - function.address >= function.size {
            return None;
        }
        self.name(function)
    }

    /// The address and mangled name of each function whose mangled name contains `part`.
    pub(super) fn with_part(&self, part: &str) -> impl Iterator<Item = (u64, &str)> {
        // One search over the whole string table is a hundred times as fast as one per name.
        let hits: Vec<usize> = memmem::find_iter(&self.names, part).collect();
        self.functions.iter().filter_map(move |function| {
            let start = function.name as usize;
            let hit = *hits.get(hits.partition_point(|&hit| hit < start))?;
            let prefix = self.names.get(start..hit)?;
            if prefix.len() > MAX_PREFIX || prefix.contains(&0) {
                return None;
            }
            Some((function.address, self.name(function)?))
        })
    }

    fn name(&self, function: &Function) -> Option<&str> {
        let name = self.names.get(function.name as usize..)?;
        let end = memchr::memchr(0, name)?;
        std::str::from_utf8(&name[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(all: &[(u32, u64, u64)], names: &[u8]) -> Functions {
        let functions = all.iter().map(|&(name, address, size)| Function {
            address,
            size,
            name,
        });
        Functions::new(functions, names.into())
    }

    #[test]
    fn a_function_is_found_by_any_of_its_addresses() {
        let found = functions(&[(5, 200, 0), (1, 100, 10)], b"\0one\0two\0");
        assert_eq!(found.at(99), None);
        assert_eq!(found.at(100), Some("one"));
        assert_eq!(found.at(109), Some("one"));
        assert_eq!(found.at(110), None);
        assert_eq!(found.at(5000), Some("two"), "it has no size");
        assert_eq!(Functions::default().at(1), None);
    }

    #[test]
    fn functions_are_found_by_a_part_of_their_names() {
        let all = [(1, 100, 10), (7, 200, 0), (3, 300, 5), (13, 400, 5)];
        let all = functions(&all, b"\0ab_cd\0x_cd_\0cab\0");
        let found = |part| {
            let mut found: Vec<(u64, &str)> = all.with_part(part).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found("_cd"), [(100, "ab_cd"), (200, "x_cd_"), (300, "_cd")]);
        assert_eq!(found("ab"), [(100, "ab_cd"), (400, "cab")]);
        assert_eq!(found("zz"), []);
    }

    proptest::proptest! {
        #[test]
        fn damaged_tables_do_not_panic(
            all in proptest::collection::vec((0_u32..60, 0_u64.., 0_u64..), 0..20),
            names in proptest::collection::vec(0_u8.., 0..50),
            address in 0_u64..,
        ) {
            let found = functions(&all, &names);
            let _ = found.at(address);
            let _ = found.with_part("a").count();
        }
    }
}
