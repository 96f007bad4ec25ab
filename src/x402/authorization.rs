use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::{Address, HexError, Nonce};

/// A signed permission to move USDC once (EIP-3009 `TransferWithAuthorization`).
///
/// The wire allows several spellings of one authorization; here it has one form, so that two
/// spellings are never two payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// How much, in atomic units.
    pub value: u128,
    /// The second since the epoch after which it may be used.
    pub valid_after: u64,
    /// The second since the epoch before which it must be used.
    pub valid_before: u64,
    /// What makes it unique among those of its payer.
    pub nonce: Nonce,
}

/// Why a JSON value is not an [`Authorization`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// There is no authorization at all.
    #[error("authorization is not an object")]
    NotAnObject,
    /// A field is missing or null.
    #[error("authorization.{field} is missing")]
    Missing {
        /// Which one.
        field: &'static str,
    },
    /// A field is not the hexadecimal text it should be.
    #[error("authorization.{field} is malformed")]
    Hex {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        source: HexError,
    },
    /// A field is not a whole number, or too large for any payment.
    #[error("authorization.{field} is not a whole number in range")]
    Number {
        /// Which one.
        field: &'static str,
    },
}

impl Authorization {
    /// From JSON, in any of the spellings that facilitators accept.
    pub fn from_value(value: &Value) -> Result<Self, FieldError> {
        let fields = value.as_object().ok_or(FieldError::NotAnObject)?;
        Ok(Self {
            from: hex_field(fields, "from")?,
            to: hex_field(fields, "to")?,
            value: number_field(fields, "value")?,
            valid_after: seconds_field(fields, "validAfter")?,
            valid_before: seconds_field(fields, "validBefore")?,
            nonce: hex_field(fields, "nonce")?,
        })
    }

    /// As JSON, in the spelling of the official clients.
    pub fn to_value(&self) -> Value {
        json!({
            "from": self.from,
            "to": self.to,
            "value": self.value.to_string(),
            "validAfter": self.valid_after.to_string(),
            "validBefore": self.valid_before.to_string(),
            "nonce": self.nonce.to_string(),
        })
    }
}

fn field<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<&'a Value, FieldError> {
    let value = fields.get(name).filter(|value| !value.is_null());
    value.ok_or(FieldError::Missing { field: name })
}

fn hex_field<T>(fields: &Map<String, Value>, name: &'static str) -> Result<T, FieldError>
where
    T: FromStr<Err = HexError>,
{
    let text = field(fields, name)?.as_str().unwrap_or_default();
    text.parse().map_err(|source| FieldError::Hex { field: name, source })
}

fn number_field(fields: &Map<String, Value>, name: &'static str) -> Result<u128, FieldError> {
    let number = match field(fields, name)? {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(text) => whole_number(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or(FieldError::Number { field: name })
}

fn seconds_field(fields: &Map<String, Value>, name: &'static str) -> Result<u64, FieldError> {
    let number = number_field(fields, name)?;
    u64::try_from(number).map_err(|_| FieldError::Number { field: name })
}

/// Decimal digits, or `0x` and hexadecimal ones. No sign, which `from_str_radix` would take.
fn whole_number(text: &str) -> Option<u128> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let unsigned = digits.chars().all(|digit| digit.is_digit(radix));
    if unsigned { u128::from_str_radix(digits, radix).ok() } else { None }
}
