//! Untrusted text in Markdown.

/// Text that is nothing but text, in a table too.
pub(super) fn cell(text: &str) -> String {
    escaped(text, |c| match c {
        '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => Some(format!("\\{c}")),
        _ => None,
    })
}

/// Text in the type of code. It uses tags, because text may contain backquotes, and in a table bars.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", html(text))
}

/// Text within tags, where Markdown is still interpreted.
pub(super) fn html(text: &str) -> String {
    escaped(text, |c| match c {
        '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '@' => {
            Some(format!("&#{};", u32::from(c)))
        }
        _ => None,
    })
}

/// The text on one line, without HTML. `other` escapes further characters.
fn escaped(text: &str, other: impl Fn(char) -> Option<String>) -> String {
    let mut escaped = String::new();
    // GitHub makes links of URLs: the zero-width space prevents that.
    for c in text.replace("://", ":\u{200b}//").chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '\n' | '\r' => escaped.push(' '),
            c => match other(c) {
                Some(instead) => escaped += &instead,
                None => escaped.push(c),
            },
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(cell("a|b*<i>@me"), "a\\|b\\*&lt;i&gt;\\@me");
        assert_eq!(code("`|<b>"), "<code>&#96;&#124;&lt;b&gt;</code>");
    }
}
