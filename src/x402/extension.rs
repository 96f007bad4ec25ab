use serde_json::{Map, Value, json};

use crate::ground::Amount;

/// The extension by which a buyer may name a purchase, so that a repetition is not paid again.
pub const PAYMENT_IDENTIFIER: &str = "payment-identifier";
/// The extension by which catalogues and checkers learn how to call a resource.
pub const BAZAAR: &str = "bazaar";

const SCHEMA: &str = "https://json-schema.org/draft/2020-12/schema";
const AMOUNT_PATTERN: &str = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$";

/// What a top-up offers besides payment.
pub fn of_topup(amount: Amount) -> Map<String, Value> {
    Map::from_iter([
        (PAYMENT_IDENTIFIER.to_owned(), payment_identifier()),
        (BAZAAR.to_owned(), bazaar(amount)),
    ])
}

/// Never required: stock clients do not send it.
fn payment_identifier() -> Value {
    json!({
        "info": { "required": false },
        "schema": {
            "$schema": SCHEMA,
            "type": "object",
            "properties": {
                "required": { "type": "boolean" },
                "id": {
                    "type": "string",
                    "minLength": 16,
                    "maxLength": 128,
                    "pattern": "^[a-zA-Z0-9_-]+$",
                },
            },
            "required": ["required"],
        },
    })
}

/// An example call, and a schema that describes the example (not the body alone).
fn bazaar(amount: Amount) -> Value {
    let text = json!({ "type": "string" });
    json!({
        "info": {
            "input": {
                "type": "http",
                "method": "POST",
                "bodyType": "json",
                "body": { "amount": amount },
            },
            "output": { "type": "json", "example": output_example(amount) },
        },
        "schema": {
            "$schema": SCHEMA,
            "type": "object",
            "properties": {
                "input": {
                    "type": "object",
                    "properties": {
                        "type": { "type": "string", "const": "http" },
                        "method": { "type": "string", "enum": ["POST"] },
                        "bodyType": { "type": "string", "enum": ["json"] },
                        "body": { "type": "object", "properties": { "amount": amount_field() } },
                    },
                    "required": ["type", "method", "bodyType", "body"],
                    "additionalProperties": false,
                },
                "output": {
                    "type": "object",
                    "properties": {
                        "type": text,
                        "example": {
                            "type": "object",
                            "properties": {
                                "topup_id": text,
                                "status": text,
                                "credited": text,
                                "balance": text,
                            },
                        },
                    },
                    "required": ["type"],
                },
            },
            "required": ["input"],
        },
    })
}

/// The same for version 1, which has it inside the terms.
pub fn output_schema_v1(amount: Amount) -> Map<String, Value> {
    let input = json!({
        "type": "http",
        "method": "POST",
        "bodyType": "json",
        "bodyFields": { "amount": amount_field() },
    });
    Map::from_iter([("input".to_owned(), input), ("output".to_owned(), output_example(amount))])
}

fn amount_field() -> Value {
    json!({
        "type": "string",
        "pattern": AMOUNT_PATTERN,
        "description": "Credits to buy, in US dollars",
    })
}

fn output_example(amount: Amount) -> Value {
    json!({
        "topup_id": "top_0190a5b8c0de7000800000000000002a",
        "status": "credited",
        "credited": amount,
        "balance": amount,
    })
}
