//! Patterns of file names: `*` is any text, `?` any character.

/// Whether a path is of a pattern: its last part if the pattern has no slash, all of it otherwise.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    match pattern.contains(&b'/') {
        true => matches_text(pattern, path),
        false => matches_text(pattern, name),
    }
}

/// Goes back to the last `*` where the rest does not match: linear in memory, and at most the product of
/// both lengths in time (R. Cox, "Glob Matching Can Be Simple And Fast Too", 2017).
fn matches_text(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}
