//! The hash of evidence, which anybody can compute from the evidence that is given back.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Api;
use crate::support::dice::Dice;
use crate::support::postgres::run;

/// Numbers of every size, and those that read differently when they come back from a database.
fn numbers(dice: &mut Dice) -> Vec<Value> {
    let special =
        [-0.0, 1e16, -1e16, 9e18, 1e19, 1.5e300, 5e-324, f64::MAX, f64::MIN_POSITIVE, 0.1];
    let random = std::iter::repeat_with(|| {
        let half = |dice: &mut Dice| u64::try_from(dice.below(1 << 32)).unwrap();
        f64::from_bits(half(dice) << 32 | half(dice))
    });
    let finite: Vec<f64> = random.filter(|n| n.is_finite()).take(500).collect();
    let whole = [json!(u64::MAX), json!(i64::MIN), json!(0), json!(1)];
    special.into_iter().chain(finite).map(Value::from).chain(whole).collect()
}

#[test]
fn the_hash_of_evidence_is_that_of_what_is_given_back() {
    let seed = u64::from_le_bytes(crate::ledger::scene::fresh());
    let mut dice = Dice::new(seed);
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c", json!([{"sku": "lead", "quantity": 1}])).await;
        let evidence = json!({"z": numbers(&mut dice), "a": {"é": "\u{1f600}\n\"", "": null}});
        let result = json!({"result_id": "r", "item": 1, "quantity": 1, "evidence": evidence});
        let path = format!("/api/v1/checkouts/{id}/results");
        let body = json!({ "results": [result] });
        let answer = api.post_once(&path, &api.operator, "k", body).await.json(201);
        let owner = &api.database.owner;
        let kept: Value =
            sqlx::query_scalar("select evidence from result").fetch_one(owner).await.unwrap();
        // Keys of maps are sorted, and nothing is written between the members.
        let hash = hex::encode(Sha256::digest(serde_json::to_string(&kept).unwrap()));
        assert_eq!(answer["results"][0]["evidence_sha256"], hash.as_str(), "seed {seed}");
    });
}
