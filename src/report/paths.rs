//! Replacing paths within texts.

/// The text with the path `from` replaced by `to`, wherever a path in it begins with whole components
/// of `from`. If `to` is empty, what is below `from` becomes a relative path.
pub(super) fn replaced(text: &str, from: &str, to: &str) -> String {
    let is_of_path = |c: char| c.is_alphanumeric() || "._-/~+".contains(c);
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (front, behind) = (&rest[..at], &rest[at + from.len()..]);
        let begins = front.chars().next_back().is_none_or(|c| !is_of_path(c));
        let ends = behind
            .chars()
            .next()
            .is_none_or(|c| !is_of_path(c) || c == '/');
        replaced += front;
        rest = behind;
        if !begins || !ends {
            replaced += from;
            continue;
        }
        replaced += to;
        if to.is_empty() {
            rest = rest.strip_prefix('/').unwrap_or(rest);
        }
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_components_are_replaced() {
        let short = |text| replaced(text, "/home/me", "~");
        assert_eq!(short("/home/me/src/x.rs"), "~/src/x.rs");
        assert_eq!(short("model=/home/me/m.bpk, /home/me"), "model=~/m.bpk, ~");
        assert_eq!(
            short("/home/mean/x.rs /srv/home/me/y"),
            "/home/mean/x.rs /srv/home/me/y"
        );
        assert_eq!(replaced("/srv/app/src/x.rs", "/srv/app", ""), "src/x.rs");
        assert_eq!(replaced("at /srv/app", "/srv/app", ""), "at ");
    }
}
