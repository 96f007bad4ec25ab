use reqwest::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::checkout::Check;
use crate::checkout::command::Ruling;
use crate::ground::VerifierId;

/// The bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 131_072;
const CHECKS_MAX: usize = 16;
const NAME_MAX: usize = 100;
const PROSE_MAX: usize = 1000;

/// Why an answer is no verdict. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("the answer broke off")]
    Broken,
    #[error("the answer has more than 131072 bytes")]
    TooLong,
    #[error("the answer is not a verdict")]
    Malformed,
    #[error("the verdict is about other criteria")]
    OtherCriteria,
    #[error("the accepted quantity is not between nothing and what was delivered")]
    Quantity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    accepted_quantity: i64,
    criteria_version: i32,
    verifier: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    checks: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerCheck {
    name: String,
    passed: bool,
    detail: Option<String>,
}

/// Reads an answer, as far as it may be long.
pub(super) async fn read(mut response: Response) -> Result<Vec<u8>, Nonsense> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Nonsense::Broken)? {
        if bytes.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err(Nonsense::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The verdict in an answer about so many units, under this version of the criteria.
pub(super) fn parse(
    bytes: &[u8],
    verifier: VerifierId,
    quantity: i64,
    criteria_version: i32,
) -> Result<Ruling, Nonsense> {
    // Serde reads a struct from a list of its values too; an answer without names is no verdict.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Nonsense::Malformed);
    }
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| Nonsense::Malformed)?;
    if answer.criteria_version != criteria_version {
        return Err(Nonsense::OtherCriteria);
    }
    if !(0..=quantity).contains(&answer.accepted_quantity) {
        return Err(Nonsense::Quantity);
    }
    if answer.checks.len() > CHECKS_MAX {
        return Err(Nonsense::Malformed);
    }
    Ok(Ruling {
        verifier: verifier.to_string(),
        name: prose(answer.verifier, NAME_MAX)?,
        criteria_version: Some(criteria_version),
        accepted: answer.accepted_quantity,
        reason: prose(answer.reason, PROSE_MAX)?,
        checks: answer.checks.into_iter().map(check).collect::<Result<_, _>>()?,
    })
}

fn check(members: Map<String, Value>) -> Result<Check, Nonsense> {
    let check: Result<AnswerCheck, _> = serde_json::from_value(Value::Object(members));
    let AnswerCheck { name, passed, detail } = check.map_err(|_| Nonsense::Malformed)?;
    let name = prose(Some(name), NAME_MAX)?.ok_or(Nonsense::Malformed)?;
    Ok(Check { name, passed, detail: prose(detail, PROSE_MAX)? })
}

/// A text for people, as posted verdicts may have it: bounded, and without control characters.
fn prose(text: Option<String>, max: usize) -> Result<Option<String>, Nonsense> {
    let fits = |text: &String| {
        (1..=max).contains(&text.chars().count())
            && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    };
    if text.as_ref().is_none_or(fits) { Ok(text) } else { Err(Nonsense::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn parsed(text: &str) -> Result<Ruling, Nonsense> {
        parse(text.as_bytes(), VerifierId(Uuid::nil()), 3, 2)
    }

    #[test]
    fn a_verdict_is_read() {
        let ruling = parsed(
            r#" {"accepted_quantity": 2, "criteria_version": 2, "verifier": "mail-check 7",
                 "reason": "one bounced", "checks": [{"name": "smtp", "passed": false}]}"#,
        );
        let ruling = ruling.unwrap();
        assert_eq!((ruling.accepted, ruling.name.as_deref()), (2, Some("mail-check 7")));
        assert_eq!(ruling.reason.as_deref(), Some("one bounced"));
        assert_eq!(ruling.checks.len(), 1);
        assert_eq!(parsed(r#"{"accepted_quantity":0,"criteria_version":2}"#).unwrap().accepted, 0);
        assert_eq!(parsed(r#"{"accepted_quantity":3,"criteria_version":2}"#).unwrap().accepted, 3);
    }

    #[test]
    fn everything_else_is_unknown() {
        for quantity in ["4", "-1", "9223372036854775807"] {
            let text = format!(r#"{{"accepted_quantity":{quantity},"criteria_version":2}}"#);
            assert_eq!(parsed(&text).unwrap_err(), Nonsense::Quantity, "{text}");
        }
        let other = r#"{"accepted_quantity":1,"criteria_version":1}"#;
        assert_eq!(parsed(other).unwrap_err(), Nonsense::OtherCriteria);
        let with = |more: &str| format!(r#"{{"accepted_quantity":1,"criteria_version":2{more}}}"#);
        assert!(parsed(&with("")).is_ok());
        let checks = vec![r#"{"name":"a","passed":true}"#; 17].join(",");
        for text in [
            String::new(),
            "accepted".to_owned(),
            "[1,2]".to_owned(),
            "{}".to_owned(),
            r#"{"accepted_quantity":1}"#.to_owned(),
            r#"{"accepted_quantity":"1","criteria_version":2}"#.to_owned(),
            r#"{"accepted_quantity":1.0,"criteria_version":2}"#.to_owned(),
            r#"{"accepted_quantity":1e0,"criteria_version":2}"#.to_owned(),
            r#"{"accepted_quantity":99999999999999999999,"criteria_version":2}"#.to_owned(),
            with(r#","accepted_quantity":3"#),
            with(r#","verdict":"accepted""#),
            with(r#","reason":"""#),
            with(r#","reason":"a\u0000b""#),
            with(&format!(r#","reason":"{}""#, "x".repeat(1001))),
            with(&format!(r#","verifier":"{}""#, "x".repeat(101))),
            with(&format!(r#","checks":[{checks}]"#)),
            with(r#","checks":[["a",true]]"#),
            with(r#","checks":[{"name":"a"}]"#),
            with(r#","checks":[{"name":"a","passed":1}]"#),
            with(r#","checks":null"#),
            format!("{}x", with("")),
        ] {
            assert_eq!(parsed(&text).unwrap_err(), Nonsense::Malformed, "{text}");
        }
    }
}
