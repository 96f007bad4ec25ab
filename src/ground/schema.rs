//! How the words of this floor look in the API document.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{
    Amount, BookId, CapId, ChargeId, CheckoutId, DisputeId, EventId, GrantId, HoldId, KeyId, LotId,
    Mode, QuoteId, ReversalId, TopupId, TransactionId, VerifierId, WebhookId,
};

/// The pattern of amounts in JSON.
const AMOUNT_PATTERN: &str = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$";

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("US dollars as a decimal string; one credit is one dollar"))
            .pattern(Some(AMOUNT_PATTERN))
            .examples(["5.00"])
            .into()
    }
}

impl ToSchema for Amount {}

impl PartialSchema for Mode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Whether real money is at stake"))
            .enum_values(Some([Self::Test, Self::Live].map(Self::as_str)))
            .into()
    }
}

impl ToSchema for Mode {}

macro_rules! id_schemas {
    ($($name:ident: $what:literal;)+) => {
        $(
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    id_schema($name::PREFIX, $what)
                }
            }

            impl ToSchema for $name {}
        )+
    };
}

id_schemas! {
    BookId: "The id of an account";
    KeyId: "The id of an API key, which is not the key";
    GrantId: "The id of a grant of promotional credits";
    LotId: "The id of a lot: the credits of one top-up or grant";
    HoldId: "The id of credits reserved for one checkout item";
    TransactionId: "The id of a ledger transaction";
    CapId: "The id of a cap";
    TopupId: "The id of a top-up";
    QuoteId: "The id of a quote";
    CheckoutId: "The id of a checkout";
    ChargeId: "The id of a charge";
    DisputeId: "The id of a dispute";
    ReversalId: "The id of a reversal";
    EventId: "The id of an event";
    WebhookId: "The id of a webhook";
    VerifierId: "The id of a verifier that is called";
}

fn id_schema(prefix: &str, what: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(what))
        .pattern(Some(format!("^{prefix}_[0-9a-f]{{32}}$")))
        .examples([format!("{prefix}_0199f0a1b2c37d4e8f90a1b2c3d4e5f6")])
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_what_is_read_and_written() {
        let amount = serde_json::to_value(Amount::schema()).unwrap();
        assert_eq!(amount["pattern"], AMOUNT_PATTERN);
        for example in amount["examples"].as_array().unwrap() {
            assert!(serde_json::from_value::<Amount>(example.clone()).is_ok(), "{example}");
        }
        let id = serde_json::to_value(CheckoutId::schema()).unwrap();
        assert_eq!(id["pattern"], "^chk_[0-9a-f]{32}$");
        assert!(serde_json::from_value::<CheckoutId>(id["examples"][0].clone()).is_ok());
    }
}
