//! Members of requests that check themselves while they are read, and say in the API document what
//! they take: one definition for both, so that they cannot differ.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ground::Amount;

/// A text member: for people, or a name of a fixed alphabet.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr, $pattern:expr, $says:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
            #[serde(transparent)]
            pub struct $name(String);

            impl $name {
                /// The text.
                pub fn as_str(&self) -> &str {
                    &self.0
                }

                /// The text.
                pub fn into_string(self) -> String {
                    self.0
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    let allowed: fn(usize, char) -> bool = $allowed;
                    let fits = (1..=$max).contains(&text.chars().count())
                        && text.chars().enumerate().all(|(at, c)| allowed(at, c));
                    if fits { Ok(Self(text)) } else { Err(D::Error::custom($says)) }
                }
            }

            impl FromStr for $name {
                type Err = serde::de::value::Error;

                fn from_str(text: &str) -> Result<Self, Self::Err> {
                    Self::deserialize(text.into_deserializer())
                }
            }

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let pattern: Option<&str> = $pattern;
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some($says))
                        .min_length(Some(1))
                        .max_length(Some($max))
                        .pattern(pattern)
                        .into()
                }
            }

            impl ToSchema for $name {}
        )+
    };
}

/// Control characters have no place in a text, and Postgres takes no NUL.
fn is_prose(_: usize, c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\t')
}

fn is_sku(at: usize, c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && matches!(c, '.' | '_' | '-'))
}

fn is_result_id(_: usize, c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-')
}

texts! {
    /// What a person calls something.
    Label, 100, is_prose, None, "1 to 100 characters, no control characters";
    /// What a SKU is.
    Title, 200, is_prose, None, "1 to 200 characters, no control characters";
    /// Why something was done.
    Reason, 1000, is_prose, None, "1 to 1000 characters, no control characters";
    /// What is asked of a result, in words.
    CriteriaText, 4000, is_prose, None, "1 to 4000 characters, no control characters";
    /// The name of something that can be bought.
    SkuName, 64, is_sku, Some("^[a-z0-9][a-z0-9._-]{0,63}$"),
        "1 to 64 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit";
    /// A fulfiller's own name for a result, unique in its checkout.
    ResultName, 128, is_result_id, Some("^[A-Za-z0-9._:-]{1,128}$"),
        "1 to 128 of A-Z, a-z, 0-9, dot, underscore, colon and hyphen";
}

/// A whole number between two bounds.
macro_rules! wholes {
    ($($(#[$doc:meta])* $name:ident, $kind:ty, $min:literal, $max:literal, $says:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
            #[serde(transparent)]
            pub struct $name($kind);

            impl $name {
                /// The number.
                pub fn get(self) -> $kind {
                    self.0
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let number = <$kind>::deserialize(deserializer)?;
                    let fits = ($min..=$max).contains(&number);
                    if fits { Ok(Self(number)) } else { Err(D::Error::custom($says)) }
                }
            }

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new()
                        .schema_type(Type::Integer)
                        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
                        .description(Some($says))
                        .minimum(Some($min))
                        .maximum(Some($max))
                        .into()
                }
            }

            impl ToSchema for $name {}
        )+
    };
}

wholes! {
    /// How many units.
    Quantity, i64, 1, 1_000_000, "a whole number from 1 to 1000000";
    /// Where credits stand in the order in which they are spent.
    BurnPriority, i16, 0, 100, "a whole number from 0 to 100";
    /// An item of a checkout, counted from 1.
    ItemNumber, i16, 1, 1000, "a whole number from 1 to 1000";
    /// A version of a SKU's terms, and so of its criteria.
    CriteriaVersion, i32, 1, 2_147_483_647, "a whole number from 1 to 2147483647";
    /// The number of an event in its account.
    EventNumber, i64, 1, 9_007_199_254_740_991_i64, "a whole number from 1 to 2^53 - 1";
    /// How long somebody has; at most a year.
    DeadlineSeconds, i32, 1, 31_536_000, "seconds, a whole number from 1 to 31536000";
    /// How long a charge can be reversed; at most a year.
    WindowSeconds, i32, 0, 31_536_000, "seconds, a whole number from 0 to 31536000";
    /// How long deciding a dispute may take: at least an hour, so that a seller can always answer, and
    /// at most a year.
    DecisionSeconds, i32, 3600, 31_536_000, "seconds, a whole number from 3600 to 31536000";
}

impl DecisionSeconds {
    /// A week.
    pub const WEEK: Self = Self(604_800);
}

/// A word of a fixed set, read from a text alone: Serde reads the name of a variant from the only
/// key of an object too.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// A moment as RFC 3339 has it, which may be left out: four digits for the year, two for the others.
pub fn instant<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    moment_of(&text).map(Some)
}

/// The same, which may not be left out.
pub fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    moment_of(&String::deserialize(deserializer)?)
}

fn moment_of<E: Error>(text: &str) -> Result<DateTime<Utc>, E> {
    Ok(DateTime::parse_from_rfc3339(text).map_err(E::custom)?.to_utc())
}

/// An amount of more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Price(Amount);

impl Price {
    /// The amount.
    pub fn get(self) -> Amount {
        self.0
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = Amount::deserialize(deserializer)?;
        if amount.is_zero() { Err(D::Error::custom("more than 0")) } else { Ok(Self(amount)) }
    }
}

impl PartialSchema for Price {
    fn schema() -> RefOr<Schema> {
        Amount::schema()
    }
}

impl ToSchema for Price {}

/// JSON of any shape that Postgres can keep: a NUL in a text cannot be stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AnyJson(Value);

impl AnyJson {
    /// The value.
    pub fn into_value(self) -> Value {
        self.0
    }
}

impl<'de> Deserialize<'de> for AnyJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        settle_numbers(&mut value);
        if has_nul(&value) {
            return Err(D::Error::custom("texts must not contain the character U+0000"));
        }
        Ok(Self(value))
    }
}

/// The same, and an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonObject(AnyJson);

impl JsonObject {
    /// The value.
    pub fn into_value(self) -> Value {
        self.0.into_value()
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = AnyJson::deserialize(deserializer)?;
        if json.0.is_object() { Ok(Self(json)) } else { Err(D::Error::custom("a JSON object")) }
    }
}

impl PartialSchema for JsonObject {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Object).into()
    }
}

impl ToSchema for JsonObject {}

/// Recursion is bounded by the parser's own depth.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Brings numbers into the form in which Postgres gives them back, so that what is hashed and answered
/// is what will be read: it knows no negative zero, and writes `1e16` without an exponent.
fn settle_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(settled) = settled(number) {
                *value = settled;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle_numbers),
        Value::Object(map) => map.values_mut().for_each(settle_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What a number reads as when it comes back, where that is something else.
fn settled(number: &Number) -> Option<Value> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    if float == 0.0 && float.is_sign_negative() {
        return Some(Value::from(0.0));
    }
    let digits = format!("{float}");
    let has_exponent = number.to_string().contains('e');
    if !has_exponent || digits.contains('.') {
        return None;
    }
    digits.parse::<u64>().map(Value::from).or_else(|_| digits.parse::<i64>().map(Value::from)).ok()
}

impl PartialSchema for AnyJson {
    fn schema() -> RefOr<Schema> {
        Value::schema()
    }
}

impl ToSchema for AnyJson {}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: for<'de> Deserialize<'de>>(json: &str) -> bool {
        serde_json::from_str::<T>(json).is_ok()
    }

    #[test]
    fn names_have_their_alphabet() {
        for good in ["a", "0", "lead.v2_eu-west", &"a".repeat(64)] {
            assert!(reads::<SkuName>(&format!("{good:?}")), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert!(!reads::<SkuName>(&format!("{bad:?}")), "{bad}");
        }
        assert!(reads::<ResultName>("\"Run-1:a.b_c\""));
        for bad in ["", "a/b", "a b", "%2e", &"a".repeat(129)] {
            assert!(!reads::<ResultName>(&format!("{bad:?}")), "{bad}");
        }
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        assert!(reads::<Label>("\"Zoë's agent\\n2\""));
        assert!(!reads::<Label>("\"\""));
        assert!(!reads::<Label>("\"a\\u0000b\""));
        assert!(!reads::<Label>("\"a\\u001bb\""));
        assert!(reads::<Label>(&format!("{:?}", "é".repeat(100))));
        assert!(!reads::<Label>(&format!("{:?}", "é".repeat(101))));
    }

    #[test]
    fn numbers_are_whole_and_bounded() {
        for good in ["1", "1000000"] {
            assert!(reads::<Quantity>(good), "{good}");
        }
        for bad in ["0", "-1", "1000001", "1.0", "1.5", "\"1\"", "1e2", "99999999999999999999"] {
            assert!(!reads::<Quantity>(bad), "{bad}");
        }
        assert!(reads::<WindowSeconds>("0") && !reads::<DeadlineSeconds>("0"));
        assert!(reads::<Price>("\"0.000001\"") && !reads::<Price>("\"0.00\""));
    }

    #[test]
    fn json_without_nul_is_kept_as_it_is() {
        assert!(reads::<AnyJson>("{\"a\":[1,null,{\"b\":\"x\"}]}"));
        for bad in ["\"a\\u0000\"", "[[\"\\u0000\"]]", "{\"a\\u0000\":1}"] {
            assert!(!reads::<AnyJson>(bad), "{bad}");
        }
        let text = "[-0.0,{\"a\":-0.0},1e16,-1e16,1e15,18446744073709551616,1.5e300,1e-7]";
        let numbers: AnyJson = serde_json::from_str(text).unwrap();
        let kept = "[0.0,{\"a\":0.0},10000000000000000,-10000000000000000,1000000000000000.0,\
                    1.8446744073709552e+19,1.5e+300,1e-7]";
        assert_eq!(numbers.into_value().to_string(), kept);
    }
}
