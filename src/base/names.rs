//! RunningSearch a name up in a short list, and the nearest one where it is not there.

use crate::base::error::Error;

/// The item of `all` with this name.
///
/// # Errors
/// If there is none: a usage error that names the nearest, or all of them.
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

/// FNV-1a, 64 bits (G. Fowler, L. C. Noll, K.-P. Vo; draft-eastlake-fnv): the same everywhere and
/// always.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The error for a name that is not in the list.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::usage(format!("there is no {what} `{}`", name.escape_debug()));
    /// Names that still read as a sentence.
    const FEW: usize = 8;
    match nearest(name, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if known.len() > FEW => error.hint("`afterdrop list` shows what there is"),
        None => error.hint(format!("there is {}", known.join(", "))),
    }
}

/// The known name with the fewest edits, if a third of the letters or fewer differ.
/// A name without its group (`lru` of `planted:lru`) is near enough.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let in_group = |k: &&str| k.split_once(':').is_some_and(|(_, rest)| rest == name);
    if let Some(whole) = known.iter().copied().find(in_group) {
        return Some(whole);
    }
    known
        .iter()
        .map(|&k| (edits(name, k), k))
        .filter(|&(edits, k)| edits * 3 <= name.chars().count().max(k.chars().count()))
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, k)| k)
}

/// Edits between two names, a swap of neighbours counting as one (optimal string alignment:
/// L. Boytsov, "Indexing methods for approximate dictionary searching", 2011).
fn edits(a: &str, b: &str) -> usize {
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
    fn edits_are_counted() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("cnn", "cnn"), 0);
        assert_eq!(edits("cnn", "cnm"), 1);
        assert_eq!(edits("ab", "ba"), 1);
    }

    #[test]
    fn a_far_name_lists_what_there_is() {
        let error = unknown("device", "gpu", &["ndarray", "flex"]);
        assert_eq!(
            error.to_string(),
            "there is no device `gpu`; there is ndarray, flex"
        );
    }

    #[test]
    fn a_name_without_its_group_is_near_and_a_long_list_is_not_printed() {
        let error = unknown("workload", "lru", &["planted:lrs", "planted:lru"]);
        assert!(
            error.to_string().contains("did you mean `planted:lru`?"),
            "{error}"
        );
        let error = unknown("workload", "x", &["planted:lru"; 20]);
        assert!(
            error
                .to_string()
                .ends_with("`afterdrop list` shows what there is"),
            "{error}"
        );
    }

    #[test]
    fn control_characters_are_not_printed() {
        let error = unknown("device", "\u{1b}[2J", &["flex"]);
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
