//! Payments that are broken on purpose: a seeded mutator that works on the text of JSON, where keys
//! can be there twice and numbers can be anything, on its base64 and on the header around it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use serde_json::Value;

use crate::support::dice::Dice;

/// JSON as it is written.
#[derive(Clone, Debug)]
enum Node {
    /// A text, a number, or anything else that is written so.
    Raw(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// What no writer of JSON writes, or few.
const ODD: [&str; 34] = [
    "null",
    "true",
    "-1",
    "-0",
    "0",
    "1.0",
    "1e6",
    "1E400",
    "-1e-400",
    "1000000.0",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "115792089237316195423570985008687907853269984665640564039457584007913129639936",
    "01",
    "+1",
    ".5",
    "0x10",
    "NaN",
    "Infinity",
    "undefined",
    "[]",
    "{}",
    "[[]]",
    "{\"\":{\"\":{}}}",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"0x\"",
    "\"0\"",
    "\"-1\"",
    "\"eip155:8453\"",
    "'x'",
];

impl Node {
    fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::Array(items.iter().map(Self::of).collect()),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (quoted(name), Self::of(value)));
                Self::Object(members.collect())
            }
            other => Self::Raw(other.to_string()),
        }
    }

    fn write(&self, out: &mut String, space: &str) {
        match self {
            Self::Raw(text) => out.push_str(text),
            Self::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    out.push_str(if n > 0 { "," } else { "" });
                    item.write(out, space);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (n, (name, value)) in members.iter().enumerate() {
                    out.push_str(if n > 0 { "," } else { "" });
                    out.push_str(&format!("{name}{space}:{space}"));
                    value.write(out, space);
                }
                out.push('}');
            }
        }
    }

    /// One of the nodes in it, itself included.
    fn pick(&mut self, dice: &mut Dice) -> &mut Self {
        let inside = match self {
            Self::Raw(_) => 0,
            Self::Array(items) => items.len(),
            Self::Object(members) => members.len(),
        };
        if inside == 0 || dice.below(6) == 0 {
            return self;
        }
        let at = dice.below(inside);
        match self {
            Self::Raw(_) => unreachable!("nothing is inside"),
            Self::Array(items) => items[at].pick(dice),
            Self::Object(members) => members[at].1.pick(dice),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A header line for a payment, broken in up to three ways; `others` lend their parts.
pub fn header_lines(payment: &Value, others: &[Value], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut node = Node::of(payment);
    for _ in 0..dice.below(4) {
        change(&mut node, others, dice);
    }
    let mut text = String::new();
    let space: &str = dice.pick::<&str>(&["", "", "", " ", "\n\t"]);
    node.write(&mut text, space);
    let bytes = encoded(text, dice);
    let sealed = sealed(&bytes, dice);
    let v2 = payment["x402Version"] == 2;
    let (right, wrong) =
        if v2 { ("PAYMENT-SIGNATURE", "X-PAYMENT") } else { ("X-PAYMENT", "PAYMENT-SIGNATURE") };
    let line = |name: &str, value: &[u8]| [name.as_bytes(), b": ", value].concat();
    let one = line(right, &sealed);
    match dice.below(24) {
        0 => vec![line(wrong, &sealed)],
        1 => vec![one.clone(), one],
        2 => vec![line(wrong, &sealed), one],
        3 => vec![line(wrong, b"e30="), one],
        4 => vec![line(&right.to_lowercase(), &sealed)],
        5 => vec![line(right, &[b" \t".as_slice(), &sealed, b" \t "].concat())],
        6 => vec![line(right, &[&sealed[..], b", ", &sealed].concat())],
        _ => vec![one],
    }
}

/// One change somewhere in it.
fn change(root: &mut Node, others: &[Value], dice: &mut Dice) {
    let graft = Node::of(dice.pick(others)).pick(dice).clone();
    let node = root.pick(dice);
    match dice.below(5) {
        0 => *node = Node::Raw((*dice.pick(&ODD)).to_owned()),
        1 => *node = graft,
        2 => {
            *node = match dice.below(3) {
                0 => Node::Array(vec![node.clone()]),
                1 => Node::Object(vec![(quoted("x"), node.clone())]),
                _ => deep(60 + dice.below(80)),
            }
        }
        _ => inside(node, graft, dice),
    }
}

/// A change that leaves the node of its kind.
fn inside(node: &mut Node, graft: Node, dice: &mut Dice) {
    match node {
        Node::Raw(text) => *text = respelled(text, dice),
        Node::Array(items) => match dice.below(3) {
            0 => items.clear(),
            1 => items.push(graft),
            _ => items.extend(items.clone()),
        },
        Node::Object(members) if members.is_empty() => members.push((quoted("x"), graft)),
        Node::Object(members) => {
            let at = dice.below(members.len());
            let (name, value) = members[at].clone();
            match dice.below(8) {
                0 => drop(members.remove(at)),
                // Twice, with the same value or another, before or after.
                1 => members.push((name, value)),
                2 => members.push((name, graft)),
                3 => members.insert(0, (name, graft)),
                4 => members[at].0 = respelled_key(&name, dice),
                5 => members.push((respelled_key(&name, dice), value)),
                6 => {
                    let to = dice.below(members.len());
                    members.swap(at, to);
                    members[at].0 = name;
                }
                _ => members.push((quoted("__proto__"), graft)),
            }
        }
    }
}

fn deep(levels: usize) -> Node {
    (0..levels).fold(Node::Raw("1".to_owned()), |inner, _| Node::Array(vec![inner]))
}

fn respelled_key(name: &str, dice: &mut Dice) -> String {
    let plain = name.trim_matches('"');
    match dice.below(6) {
        0 => quoted(&plain.to_uppercase()),
        1 => quoted(&plain.to_lowercase()),
        2 => quoted(&format!("{plain} ")),
        3 => quoted(&plain.replace('k', "\u{212a}").replace('s', "\u{17f}")),
        // The same key to every reader of JSON.
        4 => {
            let escaped: String =
                plain.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{escaped}\"")
        }
        _ => plain.to_owned(),
    }
}

fn respelled(text: &str, dice: &mut Dice) -> String {
    let plain = text.trim_matches('"');
    match dice.below(14) {
        0 => plain.to_owned(),
        1 => quoted(plain),
        2 => quoted(&plain.to_uppercase()),
        3 => quoted(&plain.to_uppercase().replace("0X", "0x")),
        4 => quoted(&plain.to_lowercase()),
        5 => quoted(plain.trim_start_matches("0x")),
        6 => quoted(&format!("0{plain}")),
        7 => quoted(&format!(" {plain}\n")),
        8 => quoted(&format!("{plain}\u{0}")),
        9 => quoted(&plain[..plain.len() / 2]),
        10 => quoted(&plain.repeat(1 + dice.below(400))),
        11 => match plain.parse::<u128>() {
            Ok(number) => quoted(&format!("0x{number:x}")),
            Err(_) => quoted(&format!("{plain}00")),
        },
        12 => match plain.parse::<u128>() {
            Ok(number) => format!("{number}.0"),
            Err(_) => quoted(&plain.replace('a', "b")),
        },
        _ => {
            let mut letters: Vec<char> = plain.chars().collect();
            if !letters.is_empty() {
                let at = dice.below(letters.len());
                letters[at] = *dice.pick(&['0', 'f', 'é', '"', '\\', '\u{7f}', '\u{202e}']);
            }
            quoted(&letters.into_iter().collect::<String>())
        }
    }
}

/// The text as bytes: nearly always UTF-8.
fn encoded(text: String, dice: &mut Dice) -> Vec<u8> {
    let utf8 = text.clone().into_bytes();
    match dice.below(30) {
        0 => [b"\xef\xbb\xbf", utf8.as_slice()].concat(),
        1 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        2 => [&utf8[..utf8.len() / 2], b"\xff\xfe", &utf8[utf8.len() / 2..]].concat(),
        3 => utf8[..dice.below(utf8.len() + 1)].to_vec(),
        4 => [&utf8[..], &utf8].concat(),
        5 => [&utf8[..], b"\0"].concat(),
        6 => [&utf8[..], b" // x"].concat(),
        7 => [utf8, vec![b' '; 1_000 * dice.below(14)]].concat(),
        8 => STANDARD.encode(text).into_bytes(),
        _ => utf8,
    }
}

/// In base64: nearly always the standard one.
fn sealed(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let text = STANDARD.encode(bytes);
    let mut sealed = text.clone().into_bytes();
    match dice.below(30) {
        0 => return URL_SAFE.encode(bytes).into_bytes(),
        1 => return STANDARD_NO_PAD.encode(bytes).into_bytes(),
        2 => sealed.extend(b"===="),
        3 => sealed.truncate(dice.below(sealed.len() + 1)),
        4 => {
            let at = dice.below(sealed.len() + 1);
            sealed.insert(at, *dice.pick(b" -_=%.\x80\xe9\x01\x7f"));
        }
        5 if !sealed.is_empty() => {
            let at = dice.below(sealed.len());
            sealed[at] = *dice.pick(b"AZaz09+/");
        }
        6 => return text.repeat(2).into_bytes(),
        7 => sealed.clear(),
        8 => return bytes.iter().copied().filter(|byte| *byte >= b' ').collect(),
        // Longer than any header that is read.
        9 => sealed.resize(16_385 + dice.below(30_000), b'A'),
        _ => {}
    }
    sealed
}
