//! What a facilitator was heard to say: what it means, and as much of its words as is kept.

use serde_json::{Map, Value, json};

use super::classify::legible;

/// How deep and how wide what is kept may be, and how long as JSON.
const DEPTH_MAX: usize = 4;
const WIDTH_MAX: usize = 24;
const BYTES_MAX: usize = 4096;

/// An answer, or that there was none.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard<T> {
    /// What it means.
    pub outcome: T,
    /// What is kept of it in the audit trail: the status and the body, or why there is neither.
    /// Nothing in it is long enough to be a signature.
    pub kept: Value,
}

impl<T> Heard<T> {
    /// An answer with a status and a body.
    pub fn answer(outcome: T, status: u16, body: &[u8]) -> Self {
        Self { outcome, kept: json!({ "status": status, "body": excerpt(body) }) }
    }

    /// No answer.
    pub fn nothing(outcome: T, why: &str) -> Self {
        Self { outcome, kept: json!({ "no_answer": legible(why) }) }
    }
}

/// A body without anything that may be a signature, and not too long.
fn excerpt(body: &[u8]) -> Value {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let kept = parsed.map(|value| pruned(&value, DEPTH_MAX));
    kept.filter(|kept| kept.to_string().len() <= BYTES_MAX)
        .unwrap_or_else(|| Value::String(legible(&String::from_utf8_lossy(body))))
}

fn pruned(value: &Value, depth: usize) -> Value {
    let deeper = depth.saturating_sub(1);
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => Value::String("…".to_owned()),
        Value::Object(fields) => {
            let kept = fields.iter().take(WIDTH_MAX).map(|(key, field)| {
                let hash = field.as_str().filter(|text| key == "transaction" && is_hash(text));
                let field = hash.map_or_else(|| pruned(field, deeper), Value::from);
                (legible(key), field)
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            Value::Array(items.iter().take(WIDTH_MAX).map(|item| pruned(item, deeper)).collect())
        }
        Value::String(text) => Value::String(legible(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A transaction's hash is longer than anything else that is kept, and shorter than a signature.
fn is_hash(text: &str) -> bool {
    text.strip_prefix("0x")
        .is_some_and(|rest| rest.len() == 64 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(body: &str) -> Value {
        Heard::answer((), 200, body.as_bytes()).kept["body"].clone()
    }

    #[test]
    fn what_is_said_is_kept_without_signatures_and_bounded() {
        let hash = format!("0x{}", "aB".repeat(32));
        let signature = format!("0x{}", "5d".repeat(65));
        let said = json!({"success": true, "transaction": hash, "errorMessage": signature,
                          "more": {"args": [signature, hash, 7]}});
        assert_eq!(
            kept(&said.to_string()),
            json!({"success": true, "transaction": hash, "errorMessage": "…",
                   "more": {"args": ["…", "…", 7]}})
        );
        assert_eq!(
            kept(&json!({ "transaction": signature }).to_string()),
            json!({"transaction": "…"})
        );
        assert_eq!(kept("<html>Bad\u{0}gateway</html>"), "<html>Bad gateway</html>");
        assert_eq!(kept(r#"{"a":{"b":{"c":{"d":{"e":1}}}}}"#)["a"]["b"]["c"]["d"], "…");
        let wide: Vec<_> = (0..100).map(|_| "word ".repeat(30)).collect();
        assert!(kept(&json!(wide).to_string()).to_string().len() <= BYTES_MAX);
        assert_eq!(kept(""), "");
        let silence = Heard::nothing((), "no answer in time").kept;
        assert_eq!(silence, json!({"no_answer": "no answer in time"}));
    }
}
