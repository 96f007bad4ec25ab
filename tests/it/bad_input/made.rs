//! What is made before anything is asked badly.

use serde_json::json;

use crate::api::{Api, Customer};

/// Opens a checkout and has one result charged and one under verification.
pub async fn spend(api: &Api, customer: &Customer) -> (String, String) {
    let items = json!([{"sku": "lead", "quantity": 6}, {"sku": "page", "quantity": 2}]);
    let checkout = api.checkout(customer, "c1", items).await;
    api.deliver(&api.operator, &checkout, "r1", 1, 1).await;
    let verdict = json!({"verdict": "accepted"});
    api.judge(&api.operator, &checkout, "r1", verdict).await.json(200);
    api.deliver(&api.operator, &checkout, "r2", 1, 2).await;
    let charges = api.get("/api/v1/charges", &customer.key).await.json(200);
    (checkout, charges["data"][0]["charge_id"].as_str().unwrap().to_owned())
}

/// Has one more result of a checkout charged, disputes that, and returns the dispute's id.
pub async fn object(api: &Api, customer: &Customer, checkout: &str) -> String {
    api.deliver(&api.operator, checkout, "r0", 1, 1).await;
    let verdict = json!({"verdict": "accepted"});
    let charge = api.judge(&api.operator, checkout, "r0", verdict).await.json(200);
    let path = format!("/api/v1/charges/{}/disputes", charge["charge_id"].as_str().unwrap());
    let body = json!({"amount": "0.10", "reason": "a tenth was wrong"});
    let dispute = api.post_once(&path, &customer.key, "d1", body).await.json(201);
    dispute["dispute_id"].as_str().unwrap().to_owned()
}

/// Reverses a part of a charge and returns the reversal's id.
pub async fn reverse(api: &Api, charge: &str) -> String {
    let path = format!("/api/v1/charges/{charge}/reversals");
    let body = json!({"amount": "0.10", "reason": "a tenth was wrong"});
    let made = api.post_once(&path, &api.operator, "reverse", body).await.json(201);
    made["reversal_id"].as_str().unwrap().to_owned()
}

/// Registers what calls a URL, a webhook or a verifier, and returns its id.
pub async fn caller(api: &Api, path: &str, key: &str, id: &str) -> String {
    let body = json!({"url": "http://127.0.0.1:9999/"});
    api.post(path, key, body).await.json(201)[id].as_str().unwrap().to_owned()
}

/// Gives credits for later and returns the grant's id.
pub async fn promise(api: &Api, customer: &Customer) -> String {
    let body = json!({
        "account_id": customer.account, "amount": "1.00", "reason": "goodwill",
        "effective_at": "2098-01-01T00:00:00Z",
    });
    let given = api.post_once("/api/v1/admin/grants", &api.operator, "later", body).await.json(201);
    given["grant_id"].as_str().unwrap().to_owned()
}
