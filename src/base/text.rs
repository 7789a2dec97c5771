//! Text on a terminal.

/// Names come from executables and files: nothing in them may move the cursor, or turn the direction of
/// what follows (CVE-2021-42574).
pub(crate) fn printable(text: &str) -> String {
    let clean = |c| if is_hidden(c) { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
}

/// Whether a character is not seen, and changes how others are.
pub(crate) fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Columns of a line, escape sequences not counted.
pub(crate) fn visible(line: &str) -> usize {
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
