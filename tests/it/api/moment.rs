//! A view shows one moment: its figures belong together, whatever is written meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Api, dollars};
use crate::support::postgres::run;

/// Reads something again and again while something else is done.
async fn while_writing(api: &Api, path: &str, key: &str, write: impl Future, judge: fn(&Value)) {
    let over = AtomicBool::new(false);
    let write = async {
        write.await;
        over.store(true, Ordering::Relaxed);
    };
    let read = async {
        let mut reads = 0;
        while !over.load(Ordering::Relaxed) {
            judge(&api.get(path, key).await.json(200));
            reads += 1;
        }
        assert!(reads > 10, "{reads}");
    };
    futures_util::future::join(write, read).await;
}

fn sum<'a>(rows: impl Iterator<Item = &'a Value>) -> i64 {
    rows.map(micros).sum()
}

fn micros(amount: &Value) -> i64 {
    dollars(amount.as_str().unwrap()).micros()
}

fn rows<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().unwrap().iter()
}

#[test]
fn the_figures_of_a_view_belong_together() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 20}]);
        let checkout = api.checkout(&customer, "c", items).await;
        for n in 0..20 {
            api.deliver(&api.operator, &checkout, &format!("r{n}"), 1, 1).await;
        }
        let judge_all = async {
            for n in 0..20 {
                let accepted = json!({"verdict": "accepted"});
                let judged = api.judge(&api.operator, &checkout, &format!("r{n}"), accepted).await;
                judged.json(200);
            }
        };
        let path = format!("/api/v1/checkouts/{checkout}");
        while_writing(&api, &path, &customer.key, judge_all, |view| {
            let charged = rows(view, "results").filter(|one| one["charge_id"].is_string()).count();
            let charged = i64::try_from(charged).unwrap() * dollars("1.00").micros();
            assert_eq!(micros(&view["captured"]), charged);
        })
        .await;

        let view = api.get(&path, &customer.key).await.json(200);
        let path = format!("/api/v1/charges/{}", view["results"][0]["charge_id"].as_str().unwrap());
        let reverse_all = async {
            for n in 0..20 {
                let body = json!({"amount": "0.05", "reason": "a twentieth"});
                let path = format!("{path}/reversals");
                api.post_once(&path, &api.operator, &format!("k{n}"), body).await.json(201);
            }
        };
        while_writing(&api, &path, &customer.key, reverse_all, |view| {
            let reversed = sum(rows(view, "reversals").map(|one| &one["amount"]));
            assert_eq!(micros(&view["reversed"]), reversed);
        })
        .await;

        let list_all = async {
            for n in 1..30 {
                api.list("lead", &format!("{n}.50")).await;
            }
        };
        while_writing(&api, "/api/v1/catalog/lead", "", list_all, |view| {
            assert_eq!(view["version"], view["data"][0]["version"]);
        })
        .await;
        // What the list of checkouts says is what the checkout itself says.
        let view = api.get(&format!("/api/v1/checkouts/{checkout}"), &customer.key).await.json(200);
        let line = &api.get("/api/v1/checkouts", &customer.key).await.json(200)["data"][0];
        assert_eq!((&line["status"], &line["charged"]), (&view["status"], &json!("19.00")));
    });
}
