//! The 402: x402 V2 in the header, V1 in the body, and beside it what went wrong, if anything.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::{Value, json};

use crate::http::Problem;
use crate::x402::Terms;
use crate::x402::header::encode;
use crate::x402::topup::{TopupRecord, TopupState};

use super::answer::{self, Share};

/// What the 402 says besides the terms.
pub(super) enum Trouble<'a> {
    /// Nothing: no payment was sent.
    None,
    /// The request could not be read; the terms are those of the default amount.
    Request(&'a Problem),
    /// The payment was refused, and nothing was taken; and how much of that is told.
    Payment(&'a TopupRecord, Share),
}

/// A 402 with full terms. Stock clients read no other 402.
pub(super) fn terms(terms: &Terms, trouble: Trouble<'_>) -> HttpResponse {
    let mut required = terms.payment_required_v2();
    let mut body = serde_json::to_value(terms.v1_body())
        .ok()
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({ "x402Version": 1, "accepts": [] }));
    let words = json!({
        "amount": terms.amount,
        "docs": "/llms.txt",
        "next": {
            "action": "pay",
            "detail": "Sign one of the terms and send the same request again with \
                PAYMENT-SIGNATURE (x402 V2) or X-PAYMENT (V1). An API key credits its account; \
                without one the paying wallet's account is credited.",
        },
    });
    merge(&mut body, words);
    match trouble {
        Trouble::None => {}
        Trouble::Request(problem) => {
            let said = problem.to_value();
            let keep = ["code", "field", "detail", "next", "minimum", "maximum"];
            for name in keep {
                if let Some(value) = said.get(name) {
                    body[name] = value.clone();
                }
            }
        }
        Trouble::Payment(record, share) => {
            let reason = answer::refusal(record, share);
            required.error = Some(reason.to_owned());
            merge(
                &mut body,
                json!({
                    "error": reason,
                    "code": "payment_rejected",
                    "topup_id": record.id,
                    "detail": "The payment was refused and nothing was taken.",
                    "next": {
                        "action": "sign_new_payment",
                        "detail": if record.state == TopupState::Refused {
                            "Mend what error says. Then send the same payment again, or sign the \
                                terms anew, with the same Idempotency-Key if you send one."
                        } else {
                            "Mend what error says. Then sign the terms anew, with a new \
                                Idempotency-Key if you send one."
                        },
                    },
                }),
            );
            if share >= Share::Course {
                merge(&mut body, json!({ "reason": reason }));
            }
        }
    }
    HttpResponse::PaymentRequired()
        .insert_header(("PAYMENT-REQUIRED", encode(&required)))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

fn merge(body: &mut Value, words: Value) {
    if let (Some(body), Value::Object(words)) = (body.as_object_mut(), words) {
        body.extend(words);
    }
}
