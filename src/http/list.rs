//! Lists in requests: bounded, and read strictly.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StrDeserializer, StringDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A list of `MIN` to `MAX` members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Several<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> Several<T, MIN, MAX> {
    /// The members.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The members.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> Default for Several<T, 0, 16> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de>
    for Several<T, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members: Vec<Member<T>> = Vec::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&members.len()) {
            return Ok(Self(members.into_iter().map(|member| member.0).collect()));
        }
        Err(D::Error::custom(format!("{MIN} to {MAX} members, not {}", members.len())))
    }
}

/// A member of a list: an object or a text. Serde reads a struct from a list of its values too; a
/// client that leaves out the names is wrong.
struct Member<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor(PhantomData)).map(Self)
    }
}

/// An object as a member of an object, read as strictly.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Member::deserialize(deserializer).map(|member| member.0)
}

struct MemberVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MemberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a text")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let deserializer: StrDeserializer<'_, E> = text.into_deserializer();
        T::deserialize(deserializer)
    }

    fn visit_string<E: Error>(self, text: String) -> Result<T, E> {
        let deserializer: StringDeserializer<E> = text.into_deserializer();
        T::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsing is tested")]
    struct Line {
        sku: String,
        quantity: i64,
    }

    fn reads<T: for<'de> Deserialize<'de>>(json: &str) -> bool {
        serde_json::from_str::<Several<T, 1, 2>>(json).is_ok()
    }

    #[test]
    fn lists_are_bounded() {
        assert!(reads::<String>("[\"a\",\"b\"]"));
        assert!(!reads::<String>("[]"));
        assert!(!reads::<String>("[\"a\",\"b\",\"c\"]"));
    }

    #[test]
    fn members_have_names() {
        assert!(reads::<Line>(r#"[{"sku":"a","quantity":1}]"#));
        assert!(!reads::<Line>(r#"[["a",1]]"#));
        assert!(!reads::<Line>(r#"[{"sku":"a"}]"#));
        assert!(!reads::<Line>("[\"a\"]") && !reads::<Line>("[null]") && !reads::<Line>("[1]"));
        assert!(!reads::<String>("[1]") && !reads::<String>("[null]"));
    }
}
