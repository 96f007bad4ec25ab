//! Lists are read by index: the cursor is where the reading begins, and nothing sorts more than a page.

use std::collections::HashSet;
use std::sync::Arc;

use bursar::checkout::{Checkouts, Staff, Verifiers};
use bursar::db;
use bursar::finance::Finance;
use bursar::ground::{BookId, CheckoutId, KeyId, SystemEntropy};
use bursar::outbound::{Caller, Reach};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

use super::Api;
use crate::support::postgres::run;

/// The lists, read by way of a single connection, which knows what it was asked.
struct Lists {
    pool: PgPool,
    checkouts: Checkouts,
    verifiers: Verifiers,
    finance: Finance,
    account: BookId,
    checkout: CheckoutId,
    seen: HashSet<String>,
}

impl Lists {
    fn new(api: &Api, account: &str, checkout: &str) -> Self {
        let pool = db::service_pool(api.database.service_options(), 1);
        let (engine, clock, entropy) =
            (api.engine.clone(), api.clock.clone(), Arc::new(SystemEntropy));
        let caller = Caller::new(Reach::Loopback, true).unwrap();
        Self {
            checkouts: Checkouts::new(pool.clone(), engine.clone(), clock.clone(), entropy.clone()),
            verifiers: Verifiers::new(pool.clone(), engine, clock, entropy, caller, None),
            finance: Finance::new(pool.clone()),
            pool,
            account: account.parse().unwrap(),
            checkout: checkout.parse().unwrap(),
            seen: HashSet::new(),
        }
    }

    /// Asserts that the one statement asked since the last time reads a page by this condition of an
    /// index, and sorts pages at most.
    async fn by(&mut self, condition: &str) {
        self.each_by(condition, 1).await;
    }

    /// The same of so many statements.
    async fn each_by(&mut self, condition: &str, statements: usize) {
        let mut connection = self.pool.acquire().await.unwrap();
        let asked = "select name, statement, cardinality(parameter_types) as parameters
                     from pg_prepared_statements
                     where (statement like '%limit $%' or statement like '%offset $%')
                       and statement not like '%pg_prepared_statements%'";
        let asked = sqlx::query(asked).fetch_all(&mut *connection).await.unwrap();
        let mut new = 0;
        for row in asked {
            let statement: String = row.get("statement");
            if !self.seen.insert(statement.clone()) {
                continue;
            }
            new += 1;
            let parameters: i32 = row.get("parameters");
            let parameters = vec!["null"; usize::try_from(parameters).unwrap()].join(", ");
            let name: String = row.get("name");
            let explain = format!("explain (costs off) execute {name} ({parameters})");
            let plan = sqlx::query_scalar::<_, String>(AssertSqlSafe(explain));
            let plan = plan.fetch_all(&mut *connection).await.unwrap();
            let shown = plan.join("\n");
            let index = |line: &&String| line.contains("Index Cond") && line.contains(condition);
            assert_eq!(plan.iter().filter(index).count(), 1, "{condition}:\n{statement}\n{shown}");
            let read = plan.iter().position(|line| index(&line)).unwrap();
            let cut = plan[..read].iter().rev().nth(1).is_some_and(|above| above.contains("Limit"));
            assert!(cut, "more than a page is joined:\n{statement}\n{shown}");
            assert!(!shown.contains("Join Filter"), "looked up by less than a key:\n{shown}");
            let depth = |line: &String| line.find(|c: char| c != ' ').unwrap();
            for (n, line) in plan.iter().enumerate().filter(|(_, line)| line.contains("Sort")) {
                let below = plan.iter().skip(n + 1).take_while(|next| depth(next) > depth(line));
                let pages = below.filter(|next| next.contains("Limit")).count();
                assert!(line.contains("Sort Key") || pages > 0, "all of it is sorted:\n{shown}");
            }
        }
        assert_eq!(new, statements, "so many statements read the page for {condition}");
    }

    async fn all(&mut self) {
        self.seen.clear();
        self.checkouts.list(self.account, None, 9).await.unwrap();
        self.by("(slot = $1) AND (book_id = $2) AND (checkout_id < $3)").await;
        self.checkouts.results(self.account, self.checkout, "", 9).await.unwrap();
        self.by("(checkout_id = $3) AND (result_id >= $4)").await;
        self.checkouts.charges(self.account, None, 9).await.unwrap();
        self.by("(slot = $1) AND (book_id = $2) AND (charge_id < $3)").await;
        self.checkouts.catalog("", 9).await.unwrap();
        self.by("(sku > $1)").await;
        self.checkouts.sku("lead", None, 9).await.unwrap();
        self.by("(sku = $1) AND (version < $2)").await;
        let mut staff = Staff { key: KeyId(Uuid::nil()), skus: None };
        self.checkouts.open_disputes(&staff, None, 9).await.unwrap();
        self.by("(dispute_id > $1)").await;
        staff.skus = Some(vec!["lead".to_owned()]);
        let rare = self.checkouts.open_disputes(&staff, None, 9).await.unwrap();
        assert!(rare.len() == 1 && rare[0].sku == "lead", "{rare:?}");
        self.by("(sku = u.sku) AND (dispute_id > $2)").await;
        let waiting = self.checkouts.waiting_results(&staff, None, 9).await.unwrap();
        assert!(waiting.0.is_empty() && waiting.1.is_some(), "a rare one comes later: {waiting:?}");
        self.each_by("(ROW(verify_by, checkout_id, result_id) > ROW($", 2).await;
        self.verifiers.list(None, 9).await.unwrap();
        self.by("(verifier_id > $1)").await;
        self.finance.history(self.account, None, 9).await.unwrap();
        self.by("(slot = $1) AND (book_id = $2) AND (version < $3)").await;
    }
}

/// What other accounts and other SKUs have many of.
const MANY: [&str; 5] = [
    "insert into checkout (slot, book_id, checkout_id, key_id, max_total, total, created_at)
     select c.slot, md5('book' || n % 50)::uuid, md5('checkout' || n)::uuid, c.key_id, 1, 1, now()
     from checkout c, generate_series(1, 3000) n",
    "insert into charge (slot, book_id, charge_id, checkout_id, item, result_id, sku, quantity,
       unit_price, amount, reversed, transaction_id, captured_at, final_at)
     select c.slot, md5('book' || n % 50)::uuid, md5('charge' || n)::uuid, c.checkout_id, 1, 'r' || n,
       'page', 1, 1, 1, 0, c.transaction_id, now(), now()
     from charge c, generate_series(1, 3000) n",
    "insert into dispute (slot, book_id, charge_id, dispute_id, sku, amount, reason, disputed_by,
       disputed_at, decide_by)
     select d.slot, d.book_id, md5('charge' || n)::uuid, md5('dispute' || n)::uuid, 'page', 1, '',
       d.disputed_by, now(), now() from dispute d, generate_series(1, 3000) n",
    "insert into checkout_item (slot, book_id, checkout_id, item, hold_id, sku, sku_version, quantity,
       unit_price, deliver_by, verification_deadline_s, dispute_window_s, dispute_decision_s)
     select slot, book_id, checkout_id, 2, hold_id, 'page', 1, 3000, 1, deliver_by, 1, 1, 3600
     from checkout_item",
    "insert into result (slot, book_id, checkout_id, result_id, item, quantity, state, evidence,
       evidence_hash, submitted_by, submitted_at, verify_by)
     select slot, book_id, checkout_id, 'waiting' || n, 2, 1, 'verifying', '1', evidence_hash,
       submitted_by, now(), now() + interval '1 hour'
     from result, generate_series(1, 3000) n",
];

#[test]
fn every_list_begins_at_its_cursor() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 1}]);
        let checkout = api.checkout(&customer, "c", items).await;
        api.deliver(&api.operator, &checkout, "r", 1, 1).await;
        let accepted = json!({"verdict": "accepted"});
        let judged = api.judge(&api.operator, &checkout, "r", accepted).await.json(200);
        let path = format!("/api/v1/charges/{}/disputes", judged["charge_id"].as_str().unwrap());
        api.post_once(&path, &customer.key, "d", json!({"reason": "no"})).await.json(201);
        let mut lists = Lists::new(&api, &customer.account, &checkout);
        for many in MANY {
            sqlx::raw_sql(many).execute(&api.database.owner).await.unwrap();
        }
        sqlx::raw_sql("analyze").execute(&api.database.owner).await.unwrap();
        lists.all().await;
    });
}
