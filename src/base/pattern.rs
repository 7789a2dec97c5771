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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::name("model.onnx", "/srv/models/model.onnx", true)]
    #[case::name_alone("model.onnx", "model.onnx", true)]
    #[case::other_name("model.onnx", "/srv/model.onnx.bak", false)]
    #[case::any_text("*.onnx", "/srv/a/b.onnx", true)]
    #[case::no_text("model*.onnx", "model.onnx", true)]
    #[case::several("m*d*l??", "/m/middle1", true)]
    #[case::goes_back("*ab", "aab", true)]
    #[case::too_short("model?", "model", false)]
    #[case::whole_path("/srv/*/model", "/srv/a/model", true)]
    #[case::across_folders("/srv/*", "/srv/a/model", true)]
    #[case::other_folder("/srv/*/model", "/opt/a/model", false)]
    #[case::part_of_a_path("a/model", "/srv/a/model", false)]
    #[case::empty("", "model", false)]
    fn a_path_is_of_a_pattern(#[case] pattern: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected);
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let pattern = "*a".repeat(2000) + "b";
        let path = "a".repeat(20_000);
        assert!(!matches(pattern.as_bytes(), path.as_bytes()));
    }
}
