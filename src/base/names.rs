//! Lookup of a name in a list, with a suggestion if it is misspelled.

use crate::base::error::Error;

/// The item of `all` with this name.
///
/// # Errors
/// If there is none: a usage error that suggests the most similar name, or lists all of them.
pub(crate) fn pick<T: Copy>(
    what: &str,
    name: &str,
    all: impl IntoIterator<Item = T>,
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, Error> {
    let all: Vec<T> = all.into_iter().collect();
    if let Some(found) = all.iter().find(|&&item| name_of(item) == name) {
        return Ok(*found);
    }
    let names: Vec<&str> = all.iter().map(|&item| name_of(item)).collect();
    Err(unknown(what, name, &names))
}

/// FNV-1a hash, 64 bits (G. Fowler, L. C. Noll, K.-P. Vo; draft-eastlake-fnv). It is the same on every
/// machine and in every version, so that it can be stored.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The error for a name that is not in the list; `what` says what it should be the name of.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    /// Most workloads that are listed in a message.
    const MAX_LISTED: usize = 8;
    let error = Error::usage(format!("unknown {what} `{}`", name.escape_debug()));
    match nearest(name, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if what == "workload" && known.len() > MAX_LISTED => {
            error.hint("`afterdrop list` shows all workloads")
        }
        None => error.hint(format!("choose from {}", known.join(", "))),
    }
}

/// The known name with the smallest edit distance, if that is at most a third of the longer name's
/// length. A name without its group, such as `lru` for `planted:lru`, matches, too.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let in_group = |k: &&str| k.split_once(':').is_some_and(|(_, rest)| rest == name);
    if let Some(whole) = known.iter().copied().find(in_group) {
        return Some(whole);
    }
    known
        .iter()
        .map(|&k| (edit_distance(name, k), k))
        .filter(|&(edits, k)| edits * 3 <= name.chars().count().max(k.chars().count()))
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, k)| k)
}

/// Edit distance of two names, where a swap of two adjacent characters is one edit (optimal string
/// alignment: L. Boytsov, "Indexing methods for approximate dictionary searching", 2011).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_distance_counts_edits_and_swaps() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("cnn", "cnn"), 0);
        assert_eq!(edit_distance("cnn", "cnm"), 1);
        assert_eq!(edit_distance("ab", "ba"), 1);
    }

    #[test]
    fn without_a_similar_name_all_names_are_listed() {
        let error = unknown("device", "gpu", &["ndarray", "flex"]);
        assert_eq!(
            error.to_string(),
            "unknown device `gpu`; hint: choose from ndarray, flex"
        );
    }

    #[test]
    fn the_group_may_be_missing_and_a_long_list_of_workloads_is_not_printed() {
        let error = unknown("workload", "lru", &["planted:lrs", "planted:lru"]);
        assert!(
            error.to_string().contains("did you mean `planted:lru`?"),
            "{error}"
        );
        let error = unknown("workload", "x", &["planted:lru"; 20]);
        assert!(
            error
                .to_string()
                .ends_with("`afterdrop list` shows all workloads"),
            "{error}"
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        let error = unknown("device", "\u{1b}[2J", &["flex"]);
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
