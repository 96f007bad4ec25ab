//! What is found out about results before anything is locked: whether their evidence meets the
//! criteria that their items were sold under. That is work for the processor and never changes, so
//! that no batch waits for it.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ground::{HoldId, VerifierId, canonical_json};

use super::{CheckoutError, EvidenceSchema, Mismatch, ResultSubmission};

/// The bytes of one result's evidence, as JSON without spaces.
pub(super) const EVIDENCE_BYTES_MAX: usize = 32_768;

/// What never changes about an item.
#[derive(Clone, Debug)]
pub(super) struct KnownItem {
    pub(super) hold: HoldId,
    pub(super) sku: String,
    pub(super) sku_version: i32,
    /// The schema of the criteria that it was sold under.
    pub(super) schema: Option<Value>,
    /// Who is asked about results, if anybody is.
    pub(super) verifier: Option<VerifierId>,
}

/// A result, and what was found out about it.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) result_id: String,
    pub(super) item: i16,
    pub(super) hold: HoldId,
    pub(super) quantity: i64,
    pub(super) evidence: Value,
    /// SHA-256 of the evidence's canonical JSON.
    pub(super) evidence_hash: [u8; 32],
    /// Where the evidence does not meet the schema.
    pub(super) mismatches: Vec<Mismatch>,
    /// Who is asked about it, unless that has settled it.
    pub(super) verifier: Option<VerifierId>,
}

/// Hashes and checks the evidence of some results. A schema may be long to check, and is checked where
/// nothing else waits.
pub(super) async fn examine(
    results: Vec<ResultSubmission>,
    items: BTreeMap<i16, KnownItem>,
) -> Result<Vec<Delivery>, CheckoutError> {
    if items.values().any(|item| item.schema.is_some()) {
        return tokio::task::spawn_blocking(move || deliveries(results, &items)).await?;
    }
    deliveries(results, &items)
}

fn deliveries(
    results: Vec<ResultSubmission>,
    items: &BTreeMap<i16, KnownItem>,
) -> Result<Vec<Delivery>, CheckoutError> {
    // Items of one SKU share a schema.
    let mut schemas: HashMap<(&str, i32), EvidenceSchema> = HashMap::new();
    for item in items.values() {
        let key = (item.sku.as_str(), item.sku_version);
        if let (Some(schema), false) = (&item.schema, schemas.contains_key(&key)) {
            let schema = EvidenceSchema::compile(schema).map_err(CheckoutError::ListedCriteria)?;
            schemas.insert(key, schema);
        }
    }
    let delivery = |(position, result): (usize, ResultSubmission)| {
        let ResultSubmission { result_id, item, quantity, evidence } = result;
        let unknown = CheckoutError::ItemUnknown { position, item };
        let of = items.get(&item).ok_or(unknown)?;
        let canonical = canonical_json(&evidence);
        if canonical.len() > EVIDENCE_BYTES_MAX {
            return Err(CheckoutError::EvidenceTooLong { position });
        }
        let schema = schemas.get(&(of.sku.as_str(), of.sku_version));
        let mismatches = schema.map(|schema| schema.mismatches(&evidence)).unwrap_or_default();
        let evidence_hash = Sha256::digest(canonical.as_bytes()).into();
        let (hold, verifier) = (of.hold, of.verifier.filter(|_| mismatches.is_empty()));
        let result = Delivery {
            result_id,
            item,
            hold,
            quantity,
            evidence,
            evidence_hash,
            mismatches,
            verifier,
        };
        Ok(result)
    };
    results.into_iter().enumerate().map(delivery).collect()
}
