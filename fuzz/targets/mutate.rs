//! Changes of JSON that leave it JSON: of its bytes alone nearly every change is refused by the parser.

use afterdrop::bench::Random;
use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Value, json};

/// Changes the first `size` bytes of `data`, and returns their new number.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed.into());
    let by_bytes = random.below(8) == 0;
    let changed = if by_bytes {
        None
    } else {
        let text = std::str::from_utf8(&data[..size]).ok();
        text.and_then(|text| changed(text, &mut random))
    };
    match changed {
        Some(text) if text.len() <= max_size => {
            data[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
}

/// A JSON value with a few changes, or lines of them with changes in one.
fn changed(text: &str, random: &mut Random) -> Option<String> {
    if let Ok(mut value) = serde_json::from_str(text) {
        for _ in 0..=random.below(3) {
            change(&mut value, random);
        }
        return Some(value.to_string());
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return None;
    }
    for _ in 0..=random.below(3) {
        let (at, to) = (random.index(lines.len()), random.index(lines.len()));
        match random.below(8) {
            0 => lines.swap(at, to),
            1 => lines.insert(at, lines[to].clone()),
            2 if lines.len() > 1 => drop(lines.remove(at)),
            _ => {
                if let Ok(mut value) = serde_json::from_str(&lines[at]) {
                    change(&mut value, random);
                    lines[at] = value.to_string();
                }
            }
        }
    }
    Some(lines.join("\n") + "\n")
}

/// Changes one value within this one.
fn change(value: &mut Value, random: &mut Random) {
    let all = number(value);
    let other = nth(value, &mut random.index(all)).cloned();
    let Some(value) = nth(value, &mut random.index(all)) else {
        return;
    };
    match (random.below(6), &mut *value) {
        (0, _) => *value = other.unwrap_or_default(),
        (1, Value::Array(values)) if !values.is_empty() => {
            let copy = values[random.index(values.len())].clone();
            let count = 1 << random.below(8);
            values.extend(std::iter::repeat_n(copy, count));
        }
        (2, Value::Array(values)) => values.truncate(random.index(values.len() + 1)),
        (1 | 2, Value::Object(fields)) if !fields.is_empty() => {
            let name = fields.keys().nth(random.index(fields.len())).cloned();
            fields.remove(&name.unwrap_or_default());
        }
        (1, Value::Number(n)) => {
            let step = [1, -1, 64, -64][random.index(4)];
            *value = n
                .as_i64()
                .map_or(json!(step), |n| json!(n.wrapping_add(step)));
        }
        (1..=3, Value::String(text)) => {
            let repeated = text.repeat(random.index(4));
            *text = format!("{repeated}{}", TEXTS[random.index(TEXTS.len())]);
        }
        (_, Value::Array(_) | Value::Object(_)) => {}
        _ => *value = special(random),
    }
}

/// Texts that mean something to a terminal, a format or the parser of names.
const TEXTS: &[&str] = &[
    "",
    "/",
    "~",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{9b}",
    "\r\n",
    "<",
    ">",
    "<<",
    "::",
    "{{closure}}",
    "<a as b>",
    " for ",
    "<impl ",
    "->",
    "(",
    ")",
    "--",
    ";",
    ",",
    "|",
    "`",
    "]]>",
    "</script>",
    "\u{e9}",
    "\u{1f600}",
    "\u{0}",
    " ",
    "leak",
    "growing",
    "undecided",
    "load",
    "infer",
];

fn special(random: &mut Random) -> Value {
    let numbers = [
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(3.5),
        json!(1e308),
        json!(-1e308),
        json!(5e-324),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u32::MAX - 1),
        json!(1_u64 << 53),
        json!(255),
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
    ];
    match random.below(3) {
        0 => json!(TEXTS[random.index(TEXTS.len())]),
        1 => json!(random.any() >> random.below(64)),
        _ => numbers[random.index(numbers.len())].clone(),
    }
}

/// The number of values in this one, itself included.
fn number(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(number).sum(),
        Value::Object(fields) => fields.values().map(number).sum(),
        _ => 0,
    }
}

/// The value with this number.
fn nth<'a>(value: &'a mut Value, n: &mut usize) -> Option<&'a mut Value> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|v| nth(v, n)),
        Value::Object(fields) => fields.values_mut().find_map(|v| nth(v, n)),
        _ => None,
    }
}
