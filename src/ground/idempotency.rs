use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// SHA-256 over length-prefixed parts, so that no two lists of parts collide by concatenation.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hash.update(length.to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A caller's name for one intended act: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Why a text is not an [`IdempotencyKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 visible ASCII characters")]
pub struct KeyError;

impl IdempotencyKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = KeyError;

    /// The draft's header is a structured-field string, so a quoted value is the same key.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        let good = (1..=255).contains(&inner.len()) && inner.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(Self(inner.to_owned())) } else { Err(KeyError) }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes two requests the same request: a versioned SHA-256 of method, route and the typed
/// request, serialised again with sorted keys, so that spelling and spacing do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a typed request to a route, whose path parameters belong to the route text.
    pub fn of<T: Serialize>(method: &str, route: &str, request: &T) -> Self {
        let value = serde_json::to_value(request).unwrap_or_default();
        let mut canonical = String::new();
        write_canonical(&value, &mut canonical);
        Self(sha256([b"bursar-request-v1".as_slice(), method.as_bytes(), route.as_bytes(), canonical.as_bytes()]))
    }
}

/// Writes JSON with sorted keys, whatever order the map keeps.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fingerprints_ignore_key_order_and_see_everything_else() {
        let a = Fingerprint::of("POST", "/x", &json!({"a": 1, "b": [1, 2]}));
        assert_eq!(a, Fingerprint::of("POST", "/x", &json!({"b": [1, 2], "a": 1})));
        assert_ne!(a, Fingerprint::of("POST", "/x", &json!({"b": [2, 1], "a": 1})));
        assert_ne!(a, Fingerprint::of("POST", "/y", &json!({"a": 1, "b": [1, 2]})));
        assert_ne!(a, Fingerprint::of("PUT", "/x", &json!({"a": 1, "b": [1, 2]})));
    }

    #[test]
    fn keys_are_bounded() {
        assert!("".parse::<IdempotencyKey>().is_err());
        assert!("a b".parse::<IdempotencyKey>().is_err());
        assert!("x".repeat(256).parse::<IdempotencyKey>().is_err());
        assert_eq!("\"abc\"".parse::<IdempotencyKey>(), "abc".parse());
    }
}
