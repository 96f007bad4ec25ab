//! `bursar topup`: what the operator does about top-ups.

use bursar::db::managed::Role;

use crate::support::postgres::{TestDatabase, test_database};

use super::process::{Bursar, Ended};

async fn topup(database: &TestDatabase, arguments: &[&str]) -> Ended {
    let asked = Bursar::new(&[&["topup"], arguments].concat());
    let asked = asked.set("DATABASE_URL", &database.url(Role::Service));
    asked.set("BURSAR_MIGRATION_URL", &database.url(Role::Owner)).run().await
}

/// Two payments whose outcome nobody tells, beside one that was credited.
const PARKED: &str = "
    insert into topup (slot, book_id, topup_id, state, amount, x402_version, network, asset, payer,
      nonce, pay_to, valid_before, facilitator_url, payload, requirements, keyed, sent_at,
      created_at, updated_at)
    select slot, book_id, overlay(topup_id::text placing n::text || '0000000' from 1)::uuid, 'parked',
      amount, 2, network, asset, payer, '0x' || repeat(n::text, 64), pay_to, 1, 'elsewhere', '{}',
      '{}', true, now(), now(), now()
    from topup, generate_series(1, 2) n
    returning 'top_' || replace(topup_id::text, '-', '')";

#[tokio::test]
async fn the_operator_lists_shows_and_decides_what_is_parked() {
    let database = test_database().await;
    let serve = Bursar::new(&["serve"]).set("DATABASE_URL", &database.url(Role::Service));
    let serve = serve.set("BURSAR_MIGRATION_URL", &database.url(Role::Owner));
    let (running, url) = serve.serve().await;
    let pay = format!("{url}/api/v1/credits/topup");
    Bursar::new(&["pay", &pay]).run().await.succeeded();
    running.stop("TERM").await;
    let none = topup(&database, &["list", "--parked"]).await.succeeded();
    assert_eq!(none.out, "No top-up is parked.\n");

    let ids: Vec<String> = sqlx::query_scalar(PARKED).fetch_all(&database.owner).await.unwrap();
    let [paid, lost] = [&ids[0], &ids[1]];
    let listed = topup(&database, &["list", "--parked"]).await.succeeded();
    assert!(ids.iter().all(|id| listed.out.contains(id.as_str())), "{}", listed.out);
    let shown = topup(&database, &["show", paid]).await.succeeded();
    for words in ["state          parked", "amount         1.00", "What was said and decided"] {
        assert!(shown.out.contains(words), "{words:?} is missing in:\n{}", shown.out);
    }
    let hash = format!("0x{}", "ab".repeat(32));
    for (arguments, words) in [
        (&["show", "top_00000000000070008000000000000001"][..], "there is no such top-up"),
        (&["resolve", paid, "--settled", "0x12"], "is not a transaction's hash"),
    ] {
        topup(&database, arguments).await.refused(1, &[words]);
    }
    let done = topup(&database, &["resolve", paid, "--settled", &hash]).await.succeeded();
    assert!(done.out.contains("state          credited"), "{}", done.out);
    let because = ["resolve", lost, "--rejected", "--reason", "the payer says so"];
    let done = topup(&database, &because).await.succeeded();
    assert!(done.out.contains("state          rejected"), "{}", done.out);
    let shown = topup(&database, &["show", lost]).await.succeeded();
    assert!(
        shown.out.contains("the payer says so") && shown.out.contains("user id"),
        "{}",
        shown.out
    );
    topup(&database, &because).await.refused(1, &["it is rejected"]);
    let listed = topup(&database, &["list"]).await.succeeded();
    assert_eq!(listed.out, "No top-up is open.\n");
    crate::support::service::assert_checks(&database.url(Role::Service));
}
