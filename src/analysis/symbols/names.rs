//! Names of functions and statics, without what the compiler and macros add.

/// Path segments that `thread_local!` and the compiler append to the name of a static.
const ADDED: [&str; 10] = [
    "VAL",
    "__RUST_STD_INTERNAL_VAL",
    "__RUST_STD_INTERNAL_INIT",
    "{{closure}}",
    "{{constant}}",
    "{closure#0}",
    "{closure#1}",
    "{constant#0}",
    "{K#0}",
    "__getit",
];

/// The name of a static or thread-local as its source has it, from its mangled symbol.
pub(crate) fn static_name(symbol: &str) -> String {
    // LLVM appends `.0` or `.llvm.1234`, which the demangler does not expect.
    let symbol = match symbol.rsplit_once('.') {
        Some((front, back)) if back.bytes().all(|b| b.is_ascii_digit()) => {
            front.strip_suffix(".llvm").unwrap_or(front)
        }
        _ => symbol,
    };
    let name = demangled(symbol);
    let mut name = without_hash(&name);
    while let Some((front, last)) = name.rsplit_once("::")
        && ADDED.contains(&last)
    {
        name = front;
    }
    name.to_owned()
}

/// A symbol in Rust's or C++'s notation; itself if it is mangled in neither way.
pub(super) fn demangled(symbol: &str) -> String {
    let name = addr2line::demangle_auto(symbol.into(), None);
    #[cfg(feature = "exec")]
    if name == symbol
        && let Some(name) = of_cpp(symbol)
    {
        return name;
    }
    name.into_owned()
}

/// A symbol in C++'s notation, without the types of parameters; `None` if it is not mangled in this way.
#[cfg(feature = "exec")]
fn of_cpp(symbol: &str) -> Option<String> {
    // Without it, the name of a function in C could be read as that of a type: `f` is `float`.
    if !symbol.starts_with("_Z") {
        return None;
    }
    let options = cpp_demangle::DemangleOptions::new().no_params();
    let symbol = cpp_demangle::Symbol::new(symbol).ok()?;
    symbol.demangle_with_options(&options).ok()
}

/// A demangled name without the `::h0123456789abcdef` of Rust's legacy mangling.
pub(super) fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((front, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            front
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "exec")]
    #[test]
    fn a_function_of_c_is_no_type_of_cpp() {
        assert_eq!(demangled("f"), "f");
        assert_eq!(demangled("_Z4loadPKc"), "load");
    }

    #[test]
    fn a_static_has_the_name_that_its_source_gives_it() {
        for (symbol, name) in [
            (
                "_ZN7serving8registry8REGISTRY17h0123456789abcdefE",
                "serving::registry::REGISTRY",
            ),
            (
                "_ZN7serving8registry8REGISTRY17h0123456789abcdefE.llvm.77",
                "serving::registry::REGISTRY",
            ),
            (
                "_ZN7serving8registry8REGISTRY17h0123456789abcdefE.0",
                "serving::registry::REGISTRY",
            ),
            (
                "_ZN7serving7SCRATCH29_$u7b$$u7b$constant$u7d$$u7d$28_$u7b$$u7b$closure$u7d$$u7d$3VAL17h0123456789abcdefE",
                "serving::SCRATCH",
            ),
            ("optarg", "optarg"),
        ] {
            assert_eq!(static_name(symbol), name);
        }
    }

    #[test]
    #[cfg(feature = "exec")]
    fn a_function_of_cpp_has_the_name_that_its_source_gives_it() {
        for (symbol, name) in [
            ("_ZN7serving12open_sessionEi", "serving::open_session"),
            (
                "_ZNSt6vectorIfSaIfEE6resizeEm",
                "std::vector<float, std::allocator<float> >::resize",
            ),
            ("_Z", "_Z"),
        ] {
            assert_eq!(demangled(symbol), name);
        }
    }

    #[test]
    fn only_a_hash_is_removed_from_a_name() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::handler"), "a::handler");
    }
}
