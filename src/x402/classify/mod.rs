//! What a facilitator's answer means for the money. Pure.
//!
//! A settlement has three outcomes: it happened, it surely did not, or nobody knows. Calling an
//! unknown one a failure makes the buyer sign again and pay twice, so a failure is believed by
//! allow-list only, and only on the first attempt: after an unknown one, a later "insufficient
//! balance" may just mean that the first one succeeded.

use serde_json::{Map, Value};

/// What a facilitator says about a payment before it is settled. It promises nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyOutcome {
    /// The payment could be settled at this moment.
    Valid {
        /// Who pays, as the facilitator sees it; an EVM address is in lower case.
        payer: Option<String>,
    },
    /// The payment cannot be settled as it is.
    Invalid {
        /// The facilitator's code.
        reason: String,
        /// Its words for people, with anything like a signature cut out.
        message: Option<String>,
    },
    /// The facilitator did not say.
    Unavailable {
        /// What went wrong.
        detail: String,
    },
}

/// What became of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettleOutcome {
    /// The facilitator says that the money moved.
    Settled {
        /// The transaction; an EVM hash is in lower case.
        transaction: String,
        /// Who paid: the payer that was expected.
        payer: String,
        /// The network by its CAIP-2 id.
        network: String,
    },
    /// Refused before anything was sent to the chain.
    Rejected {
        /// The facilitator's code.
        reason: String,
        /// Its words for people, with anything like a signature cut out.
        message: Option<String>,
    },
    /// The money may have moved or may move yet. Never a failure.
    Unknown {
        /// What made it unknown: the facilitator's code or one of ours.
        reason: String,
        /// The transaction it may have happened in, when one was named.
        transaction: Option<String>,
    },
    /// No byte of the request left: there was no connection to send it on.
    NotSent {
        /// What went wrong.
        detail: String,
    },
}

/// What a successful settlement of ours must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The network's CAIP-2 id.
    pub network: &'a str,
    /// The network's name in version 1 of the protocol, when it has one.
    pub network_v1: Option<&'a str>,
    /// Who signed.
    pub payer: &'a str,
}

/// Reasons that are given only before anything is broadcast: scheme, network, amount, recipient,
/// window, signature, balance, screening, form. Simulation failures are not among them, because a
/// transfer that someone else has already broadcast fails its simulation too.
const REFUSED_BEFORE_BROADCAST: &[&str] = &[
    // The protocol's own list.
    "insufficient_funds",
    "invalid_exact_evm_payload_authorization_valid_after",
    "invalid_exact_evm_payload_authorization_valid_before",
    "invalid_exact_evm_payload_authorization_value",
    "invalid_exact_evm_payload_authorization_value_mismatch",
    "invalid_exact_evm_payload_recipient_mismatch",
    "invalid_exact_evm_payload_signature",
    "invalid_network",
    "invalid_payload",
    "invalid_payment_requirements",
    "invalid_scheme",
    "invalid_x402_version",
    "unsupported_scheme",
    // The reference facilitator.
    "asset_not_deployed_contract",
    "eip6492_factory_not_allowed",
    "invalid_exact_evm_authorization_value",
    "invalid_exact_evm_eip3009_not_supported",
    "invalid_exact_evm_failed_to_parse_signature",
    "invalid_exact_evm_insufficient_balance",
    "invalid_exact_evm_missing_eip712_domain",
    "invalid_exact_evm_network_mismatch",
    "invalid_exact_evm_payload_undeployed_smart_wallet",
    "invalid_exact_evm_recipient_mismatch",
    "invalid_exact_evm_scheme",
    "invalid_exact_evm_signature",
    "invalid_exact_evm_token_name_mismatch",
    "invalid_exact_evm_token_version_mismatch",
    "unsupported_payload_type",
    // Coinbase.
    "amount_too_low",
    "invalid_amount",
    "invalid_bazaar_extension",
    "invalid_exact_evm_payload_authorization_from_address_kyt",
    "invalid_exact_evm_payload_authorization_to_address_kyt",
    "invalid_exact_evm_payload_authorization_value_too_low",
    "kyt_risk_detected",
    "request_blocked_by_location",
    "self_send_not_allowed",
    // Circle.
    "authorization_validity_too_short",
    "self_transfer",
    // x402-rs.
    "accepted_requirements_mismatch",
    "invalid_format",
    "invalid_payment_expired",
    "recipient_mismatch",
];

/// Reasons of `/verify` that speak of the facilitator's state and not of the payment.
const FACILITATOR_TROUBLE: &[&str] =
    &["unexpected_error", "unexpected_verify_error", "unknown_error"];

/// What an answer of `/verify` means.
pub fn classify_verify(status: u16, body: &[u8]) -> VerifyOutcome {
    let Some((valid, answer)) = answer_with(body, "isValid") else {
        return VerifyOutcome::Unavailable { detail: unreadable(status) };
    };
    if valid {
        return match is_success(status) {
            true => VerifyOutcome::Valid { payer: text(&answer, "payer").map(spelled_low) },
            false => VerifyOutcome::Unavailable { detail: format!("valid_with_status_{status}") },
        };
    }
    let reason = reason_in(&answer, &["invalidReason", "invalid_reason"]);
    if FACILITATOR_TROUBLE.contains(&reason.as_str()) {
        return VerifyOutcome::Unavailable { detail: reason };
    }
    VerifyOutcome::Invalid { reason, message: text(&answer, "invalidMessage").map(legible) }
}

/// What an answer of `/settle` means.
///
/// `first_attempt` says that this authorization was never sent to any `/settle` before.
pub fn classify_settle(
    status: u16,
    body: &[u8],
    first_attempt: bool,
    expected: &Expected<'_>,
) -> SettleOutcome {
    let Some((success, answer)) = answer_with(body, "success") else {
        return SettleOutcome::Unknown { reason: unreadable(status), transaction: None };
    };
    let named = text(&answer, "transaction").unwrap_or_default();
    let transaction = transaction_on(expected.network, named);
    if success {
        return match contradiction(status, &answer, transaction.is_some(), expected) {
            None => SettleOutcome::Settled {
                transaction: transaction.unwrap_or_default(),
                payer: expected.payer.to_owned(),
                network: expected.network.to_owned(),
            },
            Some(reason) => SettleOutcome::Unknown { reason, transaction },
        };
    }
    let reason = reason_in(&answer, &["errorReason", "error_reason"]);
    let known = REFUSED_BEFORE_BROADCAST.contains(&reason.as_str());
    // A redirect or an error of the server's is no answer, whatever its body says.
    let answered = status < 300 || (400..500).contains(&status);
    let nothing_sent = named.is_empty() && !is_odd(&answer, "transaction");
    if first_attempt && known && answered && nothing_sent {
        let message = text(&answer, "errorMessage").map(legible);
        return SettleOutcome::Rejected { reason, message };
    }
    SettleOutcome::Unknown { reason, transaction }
}

/// Why a claimed success is not believed.
fn contradiction(
    status: u16,
    answer: &Map<String, Value>,
    has_transaction: bool,
    expected: &Expected<'_>,
) -> Option<String> {
    let network = text(answer, "network").unwrap_or_default();
    let payer = text(answer, "payer").unwrap_or(expected.payer);
    let same_payer = if is_evm(expected.network) {
        payer.eq_ignore_ascii_case(expected.payer)
    } else {
        payer == expected.payer
    };
    if !is_success(status) {
        Some(format!("success_with_status_{status}"))
    } else if !has_transaction {
        Some("transaction_malformed".to_owned())
    } else if network != expected.network && Some(network) != expected.network_v1 {
        Some("network_mismatch".to_owned())
    } else if !same_payer || is_odd(answer, "payer") {
        Some("payer_mismatch".to_owned())
    } else {
        None
    }
}

/// The answer, when it is a JSON object in which `verdict` is a boolean, whatever the status says.
fn answer_with(body: &[u8], verdict: &str) -> Option<(bool, Map<String, Value>)> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(answer)) => Some((answer.get(verdict)?.as_bool()?, answer)),
        _ => None,
    }
}

/// A text field; null and other types are absent.
fn text<'a>(answer: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    answer.get(key).and_then(Value::as_str)
}

/// Whether a field is there and no text.
fn is_odd(answer: &Map<String, Value>, key: &str) -> bool {
    answer.get(key).is_some_and(|value| !value.is_null() && !value.is_string())
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn is_evm(network: &str) -> bool {
    network.starts_with("eip155:")
}

fn unreadable(status: u16) -> String {
    if is_success(status) { "unreadable_answer".to_owned() } else { format!("http_{status}") }
}

fn reason_in(answer: &Map<String, Value>, keys: &[&str]) -> String {
    let given = keys.iter().find_map(|key| text(answer, key).filter(|reason| !reason.is_empty()));
    given.map_or_else(|| "no_reason".to_owned(), legible)
}

fn spelled_low(address: &str) -> String {
    let legible = legible(address);
    if legible.starts_with("0x") { legible.to_ascii_lowercase() } else { legible }
}

/// The transaction, when it has the form of one on that network.
fn transaction_on(network: &str, named: &str) -> Option<String> {
    if is_evm(network) {
        let digits = named.strip_prefix("0x").filter(|digits| digits.len() == 64)?;
        let hash =
            digits.bytes().all(|b| b.is_ascii_hexdigit()) && digits.bytes().any(|b| b != b'0');
        return hash.then(|| named.to_ascii_lowercase());
    }
    let plain =
        (32..=128).contains(&named.len()) && named.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| named.to_owned())
}

/// A facilitator's words, fit for a log: short, one line, and without long runs of hex or base64.
/// Some facilitators answer with a dump of the whole call, signature included.
pub(crate) fn legible(words: &str) -> String {
    const CHARS_MAX: usize = 200;
    /// An address with its `0x`.
    const RUN_MAX: usize = 42;
    let mut out = String::new();
    let mut run = String::new();
    for c in words.chars().chain(std::iter::once(' ')) {
        if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() > RUN_MAX { "…" } else { &run });
        run.clear();
        out.push(if c.is_control() { ' ' } else { c });
    }
    out.trim().chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
