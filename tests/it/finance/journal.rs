//! What stands in an exported journal.

use std::collections::BTreeMap;

use bursar::finance::{COLUMNS, Format, Scope};
use bursar::ground::{Amount, canonical_json};
use futures_util::TryStreamExt;
use serde_json::Value;

use super::scene::{FORMULA, Scene, dollars};
use crate::support::postgres::run;

pub type Record = BTreeMap<String, String>;

/// A whole journal as text.
pub async fn export(scene: &Scene, scope: Scope, format: Format) -> String {
    let stream = scene.finance.journal(scope, format).await.unwrap();
    let chunks: Vec<_> = stream.try_collect().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

/// Reads RFC 4180: fields by commas, records by CRLF, quotes doubled inside quotes.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'), "a record ends with CRLF");
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    assert!(!quoted && field.is_empty() && record.is_empty(), "the last record is whole");
    records
}

/// The records of a CSV journal, by column.
pub fn records(text: &str) -> Vec<Record> {
    let mut lines = parse_csv(text).into_iter();
    let header = lines.next().unwrap();
    assert_eq!(header, COLUMNS);
    lines
        .map(|line| {
            assert_eq!(line.len(), COLUMNS.len());
            header.iter().cloned().zip(line).collect()
        })
        .collect()
}

#[test]
fn the_journal_adds_up_to_the_trial_balance() {
    run(|db| async {
        let scene = Scene::play(db).await;
        for scope in [Scope::All, Scope::Book(scene.ada)] {
            let journal = records(&export(&scene, scope, Format::Csv).await);
            let mut net: BTreeMap<String, i64> = BTreeMap::new();
            for line in &journal {
                let micros: i64 = line["amount_micros"].parse().unwrap();
                assert_eq!(dollars(&line["amount"]).micros(), micros);
                *net.entry(line["debit_account"].clone()).or_default() += micros;
                *net.entry(line["credit_account"].clone()).or_default() -= micros;
            }
            let trial = scene.finance.trial_balance(scope).await.unwrap();
            for row in trial.rows {
                let booked = net.remove(&row.account).unwrap_or_default();
                let shown = dollars(&row.debit).micros() - dollars(&row.credit).micros();
                assert_eq!(booked, shown, "{}", row.account);
            }
            assert!(net.is_empty(), "accounts that the trial balance does not know: {net:?}");
        }
    });
}

#[test]
fn the_lines_stand_in_order_and_whole() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let all = records(&export(&scene, Scope::All, Format::Csv).await);
        let rows: i64 = sqlx::query_scalar("select count(*) from transfer")
            .fetch_one(&scene.db.service)
            .await
            .unwrap();
        assert_eq!(i64::try_from(all.len()).unwrap(), rows);
        let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
        let mut balances: BTreeMap<(&str, &str), Amount> = BTreeMap::new();
        let mut previous = None;
        for line in &all {
            let book = line["book_id"].as_str();
            let version = versions.entry(book).or_default();
            *version += 1;
            assert_eq!(line["version"], version.to_string(), "versions have no gap");
            // A book's slot is its last byte, and leads the order.
            let key = (book[book.len() - 2..].to_owned(), book.to_owned(), *version);
            assert!(previous.as_ref() < Some(&key), "{previous:?} before {key:?}");
            previous = Some(key);
            for side in ["debit", "credit"] {
                let account = line[&format!("{side}_account")].as_str();
                let after = dollars(&line[&format!("{side}_balance_after")]);
                balances.insert((book, account), after);
            }
        }
        assert_eq!(versions.len(), 2);
        let ada = scene.ada.to_string();
        let trial = scene.finance.trial_balance(Scope::Book(scene.ada)).await.unwrap();
        for row in trial.rows {
            let last = balances.get(&(ada.as_str(), row.account.as_str()));
            let shown = dollars(&row.debit).max(dollars(&row.credit));
            assert_eq!(last.copied().unwrap_or_default(), shown, "{}", row.account);
        }
        let own = records(&export(&scene, Scope::Book(scene.ada), Format::Csv).await);
        let hers: Vec<_> = all.iter().filter(|line| line["book_id"] == ada).cloned().collect();
        assert_eq!(own, hers);
    });
}

#[test]
fn every_line_leads_to_what_it_belongs_to() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let journal = records(&export(&scene, Scope::All, Format::Csv).await);
        let mut movements: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &journal {
            let movement = line["movement"].as_str();
            *movements.entry(movement).or_default() += 1;
            let filled = |columns: &[&str], prefix: &str| {
                assert!(line["subject_id"].starts_with(prefix), "{line:?}");
                for column in &COLUMNS[15..] {
                    assert_eq!(!line[*column].is_empty(), columns.contains(column), "{line:?}");
                }
            };
            match movement {
                "topup" => filled(
                    &["topup_id", "settlement_network", "settlement_transaction", "payer"],
                    "top_",
                ),
                "grant" => filled(&[], "grt_"),
                "hold" | "release" => filled(&["checkout_id", "sku"], "hld_"),
                "capture" => filled(&["checkout_id", "charge_id", "result_id", "sku"], "chg_"),
                "reversal" => filled(&["checkout_id", "charge_id", "result_id", "sku"], "rev_"),
                "expiry" => filled(&[], "lot_"),
                other => panic!("{other}"),
            }
            let undoes = matches!(movement, "release" | "reversal");
            assert_eq!(line["reverses_transaction_id"].starts_with("txn_"), undoes);
            assert!(line["recorded_at"].ends_with('Z'), "{line:?}");
        }
        let named: Vec<_> = movements.keys().copied().collect();
        let every = ["capture", "expiry", "grant", "hold", "release", "reversal", "topup"];
        assert_eq!(named, every, "the history has every movement");
        // Both reversals of the late failure undo its charge.
        let late: Vec<_> = journal.iter().filter(|l| l["result_id"] == "late failure").collect();
        assert!(late.iter().all(|line| line["charge_id"] == late[0]["charge_id"]));
        assert!(late.iter().filter(|line| line["movement"] == "reversal").count() >= 2);
    });
}

#[test]
fn the_first_lines_read_like_this() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let text = export(&scene, Scope::Book(scene.ada), Format::Csv).await;
        let masked: Vec<String> = records(&text)
            .iter()
            .take(5)
            .map(|line| {
                let columns = COLUMNS[1..].iter().filter(|c| !c.ends_with("_at"));
                let field = |column: &&str| match line[*column].split_once('_') {
                    Some((kind, id)) if id.len() == 32 => kind.to_owned(),
                    _ => line[*column].split("settled").next().unwrap().to_owned(),
                };
                columns.map(field).collect::<Vec<_>>().join(",")
            })
            .collect();
        let expected = [
            "1,txn,grant,promo_issued,promo,25.00,25000000,25.00,25.00,grt,lot,,,,,,,,,,,,,",
            "2,txn,topup,,prepaid,40.00,40000000,40.00,40.00,top,lot,,top,eip155:84532,0x,0xb,,,,,,,,",
            "3,txn,hold,promo,promo_held,10.00,10000000,15.00,10.00,hld,lot,,,,,,chk,,,lead,,,,",
            "4,txn,hold,promo,promo_held,12.00,12000000,3.00,22.00,hld,lot,,,,,,chk,,,page,,,,",
            "5,txn,hold,promo,promo_held,3.00,3000000,0.00,25.00,hld,lot,,,,,,chk,,,lead,,,,",
        ];
        assert_eq!(masked, expected);
    });
}

#[test]
fn json_lines_say_what_the_csv_says() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let csv = records(&export(&scene, Scope::All, Format::Csv).await);
        let json = export(&scene, Scope::All, Format::Jsonl).await;
        assert_eq!(json.lines().count(), csv.len());
        let mut formulas = 0;
        for (line, record) in json.lines().zip(&csv) {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line, canonical_json(&value));
            let object = value.as_object().unwrap();
            assert_eq!(object.len(), COLUMNS.len());
            for (column, value) in object {
                let text = match value {
                    Value::Null => String::new(),
                    Value::String(text) if text == FORMULA => {
                        formulas += 1;
                        format!("'{text}")
                    }
                    Value::String(text) => text.clone(),
                    Value::Number(version) if column == "version" => version.to_string(),
                    other => panic!("{column} is {other}"),
                };
                assert_eq!(record[column], text, "{column}");
            }
        }
        assert!(formulas > 0, "a result id that looks like a formula is in the journal");
    });
}
