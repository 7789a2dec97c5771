//! Text for people: wrapping, shortening, plurals, and characters that are safe to print.

/// The text with every character that could move the cursor or reorder what follows replaced by
/// U+FFFD. Names come from executables and files, and may hold any character (CVE-2021-42574).
pub(crate) fn printable(text: &str) -> String {
    let clean = |c| if is_hidden(c) { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
}

/// Whether a character is invisible: a control character, a separator of lines, a bidirectional override, or
/// one without width.
pub(crate) fn is_hidden(c: char) -> bool {
    let breaks_lines = matches!(c, '\u{2028}' | '\u{2029}');
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}');
    let has_no_width = matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || breaks_lines || reorders || has_no_width
}

/// Columns that a line takes on a terminal, escape sequences not counted.
pub(crate) fn columns(line: &str) -> usize {
    let mut columns = 0;
    let mut in_escape = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => in_escape = true,
            'm' if in_escape => in_escape = false,
            _ if !in_escape => columns += 1,
            _ => {}
        }
    }
    columns
}

/// The text on one line, with runs of white space folded into single spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Pieces of text, such as words, in lines of at most `width` columns, with a space between two. A
/// piece that is wider gets a line of its own. There is always at least one line.
pub(crate) fn wrap<'a>(pieces: impl IntoIterator<Item = &'a str>, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for piece in pieces {
        let length = piece.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(piece);
            used += length;
        }
    }
    lines
}

/// The text in at most `width` columns: its end, after an ellipsis.
pub(crate) fn tail(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.into();
    }
    if width == 0 {
        return String::new();
    }
    let end: String = text.chars().skip(length + 1 - width).collect();
    format!("\u{2026}{end}")
}

/// The text on one line in at most `width` columns: its beginning and its end, with an ellipsis between.
pub(crate) fn excerpt(text: &str, width: usize) -> String {
    // Of a very long text, only its two ends are looked at.
    const LONGEST: usize = 4000;
    let ends = match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}\u{2026}{}", &text[..at], tail(text, LONGEST)),
        None => text.to_owned(),
    };
    let line = one_line(&ends);
    let length = line.chars().count();
    if length <= width {
        return line;
    }
    let behind = width / 3;
    let front: String = line.chars().take(width.saturating_sub(behind)).collect();
    format!("{}{}", front.trim_end(), tail(&line, behind))
}

/// A path in at most `width` columns: its last components, or the end of the last one.
pub(crate) fn tail_of_path(path: &str, width: usize) -> String {
    if path.chars().count() <= width {
        return path.into();
    }
    let fits = |rest: &&str| width > 0 && rest.chars().nth(width - 1).is_none();
    let rest = path
        .match_indices('/')
        .map(|(at, _)| &path[at..])
        .find(fits);
    rest.map_or_else(|| tail(path, width), |rest| format!("\u{2026}{rest}"))
}

/// A number of things: `1 block`, `2 blocks`, `3 boundaries`.
pub(crate) fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    let number_shown = super::units::exact(number);
    format!("{number_shown} {}", plural(number, noun))
}

/// The noun as it stands behind a number: `block` behind 1, else `blocks`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let before_y = noun.strip_suffix('y').and_then(|s| s.chars().last());
    match before_y {
        _ if number == 1 => noun.to_owned(),
        Some(c) if !"aeiou".contains(c) => format!("{}ies", &noun[..noun.len() - 1]),
        _ => format!("{noun}s"),
    }
}

/// A time as people say it, in one unit: `45 seconds`, `20 minutes`, `32 hours`, `12 days`.
pub(crate) fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [
        (86_400.0, "day"),
        (3600.0, "hour"),
        (60.0, "minute"),
        (1.0, "second"),
    ];
    // From twice a unit on, so that little is rounded away.
    let fits = |&&(unit, _): &&(f64, &str)| seconds >= 2.0 * unit;
    let (unit, name) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    count((seconds / unit).round() as u64, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_unit() {
        assert_eq!(duration(1.0), "1 second");
        assert_eq!(duration(119.0), "119 seconds");
        assert_eq!(duration(120.0), "2 minutes");
        assert_eq!(duration(7_300.0), "2 hours");
        assert_eq!(duration(32.0 * 3600.0), "32 hours");
        assert_eq!(duration(30.0 * 86_400.0), "30 days");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(printable("a\u{200b}b"), "a\u{fffd}b");
        let separators = "\u{2028}\u{2029}";
        let bidirectional = "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\
                             \u{200e}\u{200f}\u{61c}\u{206a}\u{206f}";
        let others = "\u{2060}\u{2065}\u{fff9}\u{fffb}\u{feff}";
        for c in [separators, bidirectional, others].concat().chars() {
            assert_eq!(printable(&c.to_string()), "\u{fffd}", "{c:?}");
        }
    }

    #[test]
    fn escape_sequences_take_no_columns() {
        assert_eq!(columns("\u{1b}[1;31mleak\u{1b}[0m x"), 6);
    }

    #[test]
    fn lines_are_wrapped_between_pieces() {
        let words = |text: &'static str, width| wrap(text.split_whitespace(), width);
        assert_eq!(words("", 5), [""]);
        assert_eq!(words("one two  three", 7), ["one two", "three"]);
        assert_eq!(
            words("a longer-than-that b", 6),
            ["a", "longer-than-that", "b"]
        );
        assert_eq!(wrap(["a b", "c", "d e"], 5), ["a b c", "d e"]);
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(excerpt("a b\n  c", 6), "a b c");
        assert_eq!(excerpt("abcdefghij", 10), "abcdefghij");
        assert_eq!(excerpt("abcdefghij", 9), "abcdef\u{2026}ij");
        assert_eq!(excerpt("abcdef", 0), "");
        let long = format!("python3 -c {}end", "x = 1\n".repeat(1 << 18));
        let shown = excerpt(&long, 80);
        assert_eq!(shown.chars().count(), 80);
        assert!(
            shown.starts_with("python3 -c x = 1 x") && shown.ends_with("1 end"),
            "{shown}"
        );
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        assert_eq!(tail("abcdef", 6), "abcdef");
        assert_eq!(tail("abcdef", 4), "…def");
        assert_eq!(tail("abcdef", 0), "");
    }

    #[test]
    fn a_long_path_is_cut_between_components() {
        let path = "ndarray-0.17.2/src/impl_methods.rs:240";
        assert_eq!(tail_of_path(path, 38), path);
        assert_eq!(tail_of_path(path, 37), "…/src/impl_methods.rs:240");
        assert_eq!(tail_of_path(path, 22), "…/impl_methods.rs:240");
        assert_eq!(tail_of_path(path, 8), "….rs:240");
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!(count(1_u32, "block"), "1 block");
        assert_eq!(count(0_u32, "block"), "0 blocks");
        assert_eq!(count(1_200_u64, "call site"), "1,200 call sites");
        assert_eq!(count(2_u32, "boundary"), "2 boundaries");
        assert_eq!(count(2_u32, "entry"), "2 entries");
        assert_eq!(count(2_u32, "day"), "2 days");
    }
}
