//! Names of functions as people write them: the last two path segments, without generic arguments.
//!
//! The names come from a demangler or from debug information: `alloc::vec::Vec<T,A>::push`,
//! `<app::Model as core::ops::Drop>::drop`, `core::slice::<impl [T]>::sort`, `f::{{closure}}`,
//! `{closure#0}<u8>`, `catch_unwind::<f, i32>`. Any other text is left unchanged.

use crate::base::text::tail;
use crate::model::frame::Frame;

/// Stands for generic arguments.
const GENERICS: &str = "<\u{2026}>";

/// Depth of nested brackets beyond which a name is left unchanged. It bounds the recursion.
const DEEPEST: usize = 64;

/// The short form of a function's name.
///
/// - A path is reduced to its last two segments: `Cnn::forward`.
/// - Generic arguments become an ellipsis: `Vec<…>::push`.
/// - An implementation of a trait keeps the type and the trait: `<Cnn as Shipped>::logits`.
/// - A closure is named after the function that contains it.
///
/// It is never longer than the name, in characters.
pub(crate) fn short(name: &str) -> String {
    match is_balanced(name) {
        true => shortened(name, Keep::Function),
        false => name.to_owned(),
    }
}

/// The short names of frames that are shown together. A closure that would look the same as another
/// frame gets `::{closure}` after its function's name.
pub(crate) fn short_of_stack<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<String> {
    let frames: Vec<&Frame> = frames.into_iter().collect();
    let names: Vec<String> = frames.iter().map(|f| short(&f.function)).collect();
    let is_ambiguous = |i: usize| {
        let same = |j: &usize| {
            let (a, b) = (frames[i], frames[*j]);
            names[i] == names[*j] && a.function != b.function && a.location() == b.location()
        };
        // Frames that are inlined on one line are adjacent.
        (i.saturating_sub(2)..(i + 3).min(frames.len())).any(|j| same(&j))
    };
    let name = |(i, frame): (usize, &&Frame)| match is_closure(&frame.function) && is_ambiguous(i) {
        true if !names[i].ends_with('}') => format!("{}::{{closure}}", names[i]),
        _ => names[i].clone(),
    };
    frames.iter().enumerate().map(name).collect()
}

/// A short name in at most `width` columns: without its first segments, else the end of its last.
pub(crate) fn fit(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    let fits = |rest: &&str| rest.chars().nth(width - 1).is_none() && is_balanced(rest);
    let mut rests = name.match_indices("::").map(|(at, _)| &name[at..]);
    let rest = (width > 0).then(|| rests.find(fits)).flatten();
    rest.map_or_else(|| tail(name, width), |rest| format!("\u{2026}{rest}"))
}

fn is_closure(name: &str) -> bool {
    name.ends_with('}') && (name.ends_with("{{closure}}") || name.contains("{closure"))
}

/// How much of a path is kept.
#[derive(Clone, Copy)]
enum Keep {
    /// The last two segments.
    Function,
    /// The last segment: types within other names.
    Type,
}

/// A segment of a path in its short form.
enum Segment {
    Name(String),
    /// `<T as Trait>`, which is kept together with the segment that follows.
    Qualified(String),
    /// A segment named by the compiler: `{closure#0}`, `{impl#3}`.
    Marker(String),
}

impl Segment {
    fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Qualified(text) | Self::Marker(text) => text,
        }
    }
}

/// The text with every path in it shortened.
fn shortened(text: &str, keep: Keep) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let opens = c == '<' || c == '{';
        if opens || is_of_name(c) {
            let (segments, behind) = segments(rest);
            join(&segments, keep, &mut short);
            rest = behind;
        } else if let Some((inner, behind)) = group(rest) {
            // A tuple, an array, or the arguments of a function.
            short.push(c);
            short += &shortened(inner, Keep::Type);
            short.push(closing(c));
            rest = behind;
        } else {
            short.push(c);
            rest = &rest[c.len_utf8()..];
            // The bracket of an arrow opens no group.
            if c == '-' && rest.starts_with('>') {
                short.push('>');
                rest = &rest[1..];
            }
        }
    }
    short
}

/// The segments of the path that the text begins with, and the rest of the text.
fn segments(text: &str) -> (Vec<Segment>, &str) {
    let mut segments: Vec<Segment> = Vec::new();
    let mut rest = text;
    loop {
        let begun = rest;
        if let Some((inner, behind)) = group_of('<', rest) {
            match (segments.last_mut(), inner.strip_prefix("impl ")) {
                (_, Some(of)) => segments.push(implementation(of)),
                (None, None) => segments.push(qualified(inner)),
                // `::<T>` behind a function.
                (Some(Segment::Name(name)), None) if !name.ends_with('>') => {
                    *name += if inner.is_empty() { "<>" } else { GENERICS };
                }
                (Some(_), None) => {}
            }
            rest = behind_groups(behind);
        } else if let Some((inner, behind)) = group_of('{', rest) {
            segments.push(Segment::Marker(marker(inner)));
            rest = behind_groups(behind);
        } else {
            let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let mut name = name.to_owned();
            rest = behind;
            if let Some((inner, behind)) = group_of('<', rest) {
                name += if inner.is_empty() { "<>" } else { GENERICS };
                rest = behind;
            }
            // Such as `call_once{{vtable.shim}}`.
            rest = behind_groups(rest);
            if !name.is_empty() {
                segments.push(Segment::Name(name));
            }
        }
        let next = rest.strip_prefix("::");
        let goes_on = |s: &str| s.starts_with(|c| is_of_name(c) || c == '<' || c == '{');
        match next.filter(|next| goes_on(next)) {
            Some(next) => rest = next,
            None => {
                debug_assert!(rest.len() < begun.len(), "each segment takes characters");
                return (segments, rest);
            }
        }
    }
}

/// Joins the last segments. Segments named by the compiler are left out, unless there are no others.
fn join(segments: &[Segment], keep: Keep, short: &mut String) {
    let named = |s: &&Segment| !matches!(s, Segment::Marker(_));
    let mut kept: Vec<&Segment> = segments.iter().filter(named).collect();
    if kept.is_empty() {
        kept.extend(segments.last());
    }
    let many = match (keep, &kept[..]) {
        (Keep::Function, _) | (Keep::Type, [.., Segment::Qualified(_), _]) => 2,
        (Keep::Type, _) => 1,
    };
    let from = kept.len().saturating_sub(many);
    for (i, segment) in kept[from..].iter().enumerate() {
        if i > 0 {
            *short += "::";
        }
        *short += segment.text();
    }
}

/// `<T as Trait>`, or `<T>` as `T` where that is a name.
fn qualified(inner: &str) -> Segment {
    match split_once(inner, " as ") {
        Some((of, its)) => as_trait(of, its),
        None => of_type(inner),
    }
}

/// `<impl Trait for T>` as `<T as Trait>`, and `<impl T>` as `T`.
fn implementation(inner: &str) -> Segment {
    match split_once(inner, " for ") {
        Some((its, of)) => as_trait(of, its),
        None => of_type(inner),
    }
}

fn as_trait(of: &str, its: &str) -> Segment {
    let [of, its] = [of, its].map(|name| shortened(name, Keep::Type));
    Segment::Qualified(format!("<{of} as {its}>"))
}

fn of_type(name: &str) -> Segment {
    let short = shortened(name, Keep::Type);
    let bare = short.strip_suffix(GENERICS).unwrap_or(&short);
    match !bare.is_empty() && bare.chars().all(is_of_name) {
        true => Segment::Name(short),
        false => Segment::Qualified(format!("<{short}>")),
    }
}

/// `{{closure}}`, `{closure#0}` and `{closure_env#0}` as `{closure}`.
fn marker(inner: &str) -> String {
    let mut inner = inner;
    while let Some((within, _)) = group_of('{', inner) {
        inner = within;
    }
    let name = inner.split('#').next().unwrap_or_default();
    let name = name.strip_suffix("_env").unwrap_or(name);
    format!("{{{name}}}")
}

/// Whether a name, or a part of one, may have this character.
fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || "_$.@#?\u{2026}".contains(c)
}

fn closing(open: char) -> char {
    match open {
        '<' => '>',
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// The contents of the bracket that the text begins with, if it is an `open`, and the rest of the text.
fn group_of(open: char, text: &str) -> Option<(&str, &str)> {
    text.starts_with(open).then(|| group(text)).flatten()
}

/// The text after the generic arguments and markers that it begins with.
fn behind_groups(mut text: &str) -> &str {
    while let Some((_, behind)) = group_of('<', text).or_else(|| group_of('{', text)) {
        text = behind;
    }
    text
}

/// The contents of the bracket that the text begins with, and the rest of the text.
fn group(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with(['<', '(', '[', '{']) {
        return None;
    }
    let mut end = None;
    brackets(text, |at, depth| {
        end = (depth == 0).then_some(at);
        depth > 0
    });
    let end = end?;
    Some((&text[1..end], &text[end + 1..]))
}

/// The parts before and after the first such word outside of brackets.
fn split_once<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut found = None;
    let mut outside = 0;
    brackets(text, |at, depth| {
        let before = &text[outside.min(at)..at];
        found = found.or_else(|| before.find(word).map(|n| outside + n));
        // Text within brackets is not searched.
        outside = if depth == 0 { at + 1 } else { usize::MAX };
        found.is_none()
    });
    let behind = text.get(outside..).unwrap_or_default();
    let at = found.or_else(|| behind.find(word).map(|n| outside + n))?;
    Some((&text[..at], &text[at + word.len()..]))
}

/// Whether every bracket of the text has its match, and none is nested too deeply.
fn is_balanced(text: &str) -> bool {
    let mut deepest = 0;
    let mut last = 0;
    let whole = brackets(text, |_, depth| {
        deepest = deepest.max(depth);
        last = depth;
        true
    });
    whole && last == 0 && deepest <= DEEPEST
}

/// Calls `each` with the position of each bracket and the number of open brackets after it, until it
/// returns false. Returns false if a closing bracket does not match.
fn brackets(text: &str, mut each: impl FnMut(usize, usize) -> bool) -> bool {
    let mut open = Vec::new();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let is_bracket = match c {
            '<' | '(' | '[' | '{' => {
                open.push(closing(c));
                true
            }
            '>' if before == '-' => false,
            '>' | ')' | ']' | '}' if open.pop() != Some(c) => return false,
            '>' | ')' | ']' | '}' => true,
            _ => false,
        };
        before = c;
        if is_bracket && !each(at, open.len()) {
            return true;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::Owner;
    use proptest::prelude::*;

    fn check<const N: usize>(names: [(&str, &str); N]) {
        for (name, expected) in names {
            assert_eq!(short(name), expected);
            assert_eq!(short(expected), expected, "already short");
        }
    }

    #[test]
    fn a_path_keeps_its_last_two_segments() {
        check([
            ("main", "main"),
            ("??", "??"),
            ("(not attributed)", "(not attributed)"),
            ("serving::reload", "serving::reload"),
            (
                "afterdrop::workloads::models::cnn::Cnn::forward",
                "Cnn::forward",
            ),
            ("burn_autodiff::runtime::graph::STATE", "graph::STATE"),
        ]);
    }

    #[test]
    fn generic_arguments_are_an_ellipsis() {
        check([
            ("alloc::vec::Vec<T,A>::push", "Vec<…>::push"),
            ("conv2d<f32>", "conv2d<…>"),
            (
                "to_owned<f32, ndarray::dim::Dim<ndarray::IxDynImpl>>",
                "to_owned<…>",
            ),
            ("call_once<fn() -> alloc::rc::Rc<u8>, ()>", "call_once<…>"),
            (
                "std::panicking::catch_unwind::do_call::<f, i32>",
                "catch_unwind::do_call<…>",
            ),
            ("<alloc::vec::Vec<u8>>::push", "Vec<…>::push"),
            ("f::<>", "f<>"),
        ]);
    }

    #[test]
    fn an_implementation_names_its_type_and_its_trait() {
        check([
            (
                "<afterdrop::workloads::models::cnn::Cnn as afterdrop::workloads::models::Shipped>::logits",
                "<Cnn as Shipped>::logits",
            ),
            (
                "<alloc::vec::Vec<T,A> as alloc::vec::spec_extend::SpecExtend<T,I>>::spec_extend",
                "<Vec<…> as SpecExtend<…>>::spec_extend",
            ),
            ("<std::sys::sync::once::futex::Once>::call", "Once::call"),
            ("alloc::slice::<impl [T]>::to_vec", "<[T]>::to_vec"),
            (
                "burn::float::<impl burn::base::Tensor<_>>::relu",
                "Tensor<…>::relu",
            ),
            (
                "burn::primitive::<impl burn::base::Module for core::option::Option<T>>::map",
                "<Option<…> as Module>::map",
            ),
            (
                "<T as alloc::slice::<impl [T]>::to_vec_in::ConvertVec>::to_vec",
                "<T as ConvertVec>::to_vec",
            ),
            (
                "<<T as core::iter::Iterator>::Item as a::B>::c",
                "<<T as Iterator>::Item as B>::c",
            ),
        ]);
    }

    #[test]
    fn types_without_a_path_keep_their_form() {
        check([
            (
                "<&dyn core::ops::function::Fn<(), Output = i32> + core::marker::Sync as \
                 core::ops::function::FnOnce<()>>::call_once",
                "<&dyn Fn<…> + Sync as FnOnce<…>>::call_once",
            ),
            ("<*const a::b::C as a::D>::e", "<*const C as D>::e"),
            ("<&mut [a::B; 4] as a::C>::d", "<&mut [B; 4] as C>::d"),
            ("<(a::B, c::D) as a::E>::f", "<(B, D) as E>::f"),
            ("<fn(a::B) -> c::D as a::E>::f", "<fn(B) -> D as E>::f"),
            (
                "<for<'a> fn(&'a x::Y) as a::E>::f",
                "<for<…> fn(&'a Y) as E>::f",
            ),
        ]);
    }

    #[test]
    fn a_closure_is_named_after_its_function() {
        check([
            ("serving::init::{{closure}}", "serving::init"),
            ("a::b::c::{{closure}}::{{closure}}", "b::c"),
            (
                "std::rt::lang_start_internal::{closure#0}",
                "rt::lang_start_internal",
            ),
            (
                "<a::b::Cnn as a::Shipped>::init::{{closure}}",
                "<Cnn as Shipped>::init",
            ),
            ("{closure#1}<u8, a::B>", "{closure}"),
            ("a::b::{impl#3}::get::{closure_env#2}<u8>", "b::get"),
            (
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
                "FnOnce::call_once",
            ),
            ("app::run::{{closure}}::inner", "run::inner"),
            ("async_io::read::{async_fn#0}", "async_io::read"),
        ]);
    }

    #[test]
    fn names_of_other_languages_keep_their_form() {
        check([
            (
                "__libc_start_main@@GLIBC_2.34",
                "__libc_start_main@@GLIBC_2.34",
            ),
            (
                "std::vector<int>::push_back(int const&)",
                "vector<…>::push_back(int const&)",
            ),
            ("a::b::c [clone .cold]", "b::c [clone .cold]"),
        ]);
    }

    #[test]
    fn a_name_with_unmatched_brackets_is_unchanged() {
        check([
            ("operator<<", "operator<<"),
            ("a::b::c<d", "a::b::c<d"),
            ("a::b::c(d]", "a::b::c(d]"),
        ]);
    }

    #[test]
    fn a_name_that_is_nested_without_end_is_left_alone() {
        let name = format!("{}{}", "a::<".repeat(100_000), ">".repeat(100_000));
        assert_eq!(short(&name), name);
    }

    #[test]
    fn a_name_is_cut_between_segments() {
        let name = "<Cnn as Shipped>::logits";
        assert_eq!(fit(name, 24), name);
        assert_eq!(fit(name, 23), "…::logits");
        assert_eq!(fit(name, 9), "…::logits");
        assert_eq!(fit(name, 6), "…ogits");
        assert_eq!(fit("find_or_find_insert_index<…>", 12), "…rt_index<…>");
    }

    fn frame(function: &str, line: u32) -> Frame {
        Frame {
            function: function.into(),
            file: Some("src/lib.rs".into()),
            line: Some(line),
            owner: Owner::Own,
        }
    }

    #[test]
    fn a_closure_is_marked_where_its_function_is_beside_it() {
        let one_line = [frame("a::f::{{closure}}", 3), frame("a::f", 3)];
        assert_eq!(short_of_stack(&one_line), ["a::f::{closure}", "a::f"]);
        let two_lines = [frame("a::f::{{closure}}", 4), frame("a::f", 3)];
        assert_eq!(short_of_stack(&two_lines), ["a::f", "a::f"]);
        let bare = [frame("{closure#0}<u8>", 3), frame("{closure#1}", 3)];
        assert_eq!(short_of_stack(&bare), ["{closure}", "{closure}"]);
    }

    /// Names, and texts that are made of their parts in any order.
    fn name() -> impl Strategy<Value = String> {
        const PARTS: [&str; 24] = [
            "::",
            "a",
            "Bc",
            "<",
            ">",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "{{closure}}",
            "{impl#3}",
            "<impl ",
            " for ",
            " as ",
            "->",
            ", ",
            "; 4",
            "&'a ",
            "dyn ",
            "\u{2026}",
            "\u{e4}",
            "#",
        ];
        let part = prop::sample::select(&PARTS[..]);
        let parts = prop::collection::vec(part, 0..40);
        prop_oneof![parts.prop_map(|parts| parts.concat()), any::<String>()]
    }

    proptest! {
        #[test]
        fn a_short_name_is_no_longer_and_its_brackets_match(name in name()) {
            let once = short(&name);
            prop_assert!(once.chars().count() <= name.chars().count(), "{once}");
            prop_assert_eq!(is_balanced(&once), is_balanced(&name), "{}", once);
        }

        #[test]
        fn a_name_fits_any_width(name in name(), width in 0_usize..40) {
            let fitted = fit(&short(&name), width);
            prop_assert!(fitted.chars().count() <= width, "{}", fitted);
        }
    }
}
