//! Random histories against a model that replays the journal, at random moments.

use std::collections::BTreeMap;

use bursar::finance::{Finance, HistoryEntry, Period};
use bursar::ground::{BookId, ChargeId, HoldId, KeyId};
use bursar::ledger::{HoldRequest, Role};
use chrono::TimeDelta;
use futures_util::future::join_all;
use proptest::prelude::*;
use sqlx::PgPool;
use tokio::runtime::Builder;
use uuid::Uuid;

use super::super::commands::Verb;
use super::super::model::{Time, amount};
use super::super::scene::{self, Replica};
use super::{at, finance, micros, statement};
use crate::support::postgres::test_database;

/// One transfer of the journal, as far as statements go.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Line {
    version: i64,
    debit: String,
    credit: String,
    amount: i64,
    recorded_at: Time,
}

/// Roles that grow on debit.
const DEBIT: [&str; 4] = ["settled_usdc", "promo_issued", "reversed_revenue", "settlement_loss"];

/// Two transfers of a book, by chance, and how many microseconds off their times to ask for.
type Pick = (u32, u32, i64, i64);

/// What a role was debited and credited, by name.
type Totals = BTreeMap<String, (i64, i64)>;

async fn journal(pool: &PgPool, account: BookId) -> Vec<Line> {
    sqlx::query_as(
        "select version, d.name as debit, c.name as credit, amount, recorded_at from transfer t
         join role d on d.role = t.debit join role c on c.role = t.credit
         where slot = $1 and book_id = $2 order by version",
    )
    .bind(account.slot().sql())
    .bind(account.0)
    .fetch_all(pool)
    .await
    .unwrap()
}

fn totals<'a>(lines: impl Iterator<Item = &'a Line>) -> Totals {
    let mut totals = Totals::new();
    for line in lines {
        totals.entry(line.debit.clone()).or_default().0 += line.amount;
        totals.entry(line.credit.clone()).or_default().1 += line.amount;
    }
    totals
}

fn balance(role: &str, totals: &Totals) -> i64 {
    let (debits, credits) = totals.get(role).copied().unwrap_or_default();
    if DEBIT.contains(&role) { debits - credits } else { credits - debits }
}

/// What a round does: at once, on three books, by two processes.
#[derive(Clone, Debug)]
enum Round {
    TopUps(i64),
    /// So many items in one hold.
    Hold(usize),
    Capture,
    Release,
    /// Moves the clock of one process, back as well as ahead.
    Shift(usize, i64),
}

fn round() -> impl Strategy<Value = Round> {
    prop_oneof![
        3 => (1..60_i64).prop_map(Round::TopUps),
        4 => (1..90_usize).prop_map(Round::Hold),
        2 => Just(Round::Capture),
        2 => Just(Round::Release),
        2 => (0..2_usize, -50..50_i64).prop_map(|(which, minutes)| Round::Shift(which, minutes)),
    ]
}

/// Plays the rounds. Within one, everything goes out at once, so that batches hold several commands
/// of several books.
async fn play(pair: &[Replica; 2], accounts: [(BookId, KeyId); 3], rounds: &[Round]) {
    let mut holds: Vec<(usize, HoldId)> = Vec::new();
    // Unique over the cases, whose accounts may share a slot.
    let mut id = accounts[0].0.0.as_u128() >> 24;
    for (n, round) in rounds.iter().enumerate() {
        let mut acts: Vec<(usize, Verb)> = Vec::new();
        let mut fresh = |book: usize| {
            id += 1;
            let slot = u128::from(accounts[book].0.slot().0);
            Uuid::from_u128(id << 8 | slot)
        };
        match round {
            Round::TopUps(count) => {
                for k in 0..*count {
                    acts.push((usize::try_from(k % 3).unwrap(), Verb::TopUp(amount(100 + k))));
                }
            }
            Round::Hold(items) => {
                for (book, (_, key)) in accounts.iter().enumerate() {
                    let requests: Vec<_> = (0..*items)
                        .map(|_| HoldRequest { id: HoldId(fresh(book)), amount: amount(1) })
                        .collect();
                    holds.extend(requests.iter().take(2).map(|request| (book, request.id)));
                    let max_total = amount(1000);
                    acts.push((book, Verb::Hold { key: *key, holds: requests, max_total }));
                }
            }
            Round::Capture | Round::Release => {
                let Some((book, hold)) = holds.pop() else { continue };
                let verb = match round {
                    Round::Capture => {
                        let capture = ChargeId(fresh(book));
                        Verb::Capture { hold, capture, amount: amount(1) }
                    }
                    _ => Verb::Release { hold, amount: amount(1) },
                };
                acts.push((book, verb));
            }
            Round::Shift(which, minutes) => {
                pair[*which].clock.advance(TimeDelta::minutes(*minutes));
            }
        }
        let sent = acts.into_iter().enumerate().map(|(k, (book, verb))| {
            let replica = pair[(n + k) % 2].clone();
            async move { replica.act(accounts[book].0, &format!("{n} {k}"), verb).await.unwrap() }
        });
        join_all(sent).await;
    }
}

/// Compares everything that can be asked of one moment, and of the time between two.
async fn compare(finance: &Finance, account: BookId, lines: &[Line], moments: [Time; 2]) {
    let [from, to] = moments;
    let of_moment = |line: &&Line| line.recorded_at <= to;
    let replayed = totals(lines.iter().filter(of_moment));
    let told = at(finance, account, to).await;
    let count = lines.iter().filter(of_moment).count();
    assert_eq!(told.seq, i64::try_from(count).unwrap(), "at {to}");
    assert_eq!(told.rows.len(), Role::ALL.len());
    for row in &told.rows {
        assert_eq!(micros(&row.balance), balance(&row.account, &replayed), "{row:?} at {to}");
    }

    let before = |moment: Time| move |line: &&Line| line.recorded_at < moment;
    let opening = totals(lines.iter().filter(before(from)));
    let closing = totals(lines.iter().filter(before(to)));
    let between: Vec<&Line> =
        lines.iter().filter(|line| line.recorded_at >= from && line.recorded_at < to).collect();
    let moved = totals(between.iter().copied());
    let told = statement(finance, account, from, to).await;
    for row in &told.rows {
        let (debits, credits) = moved.get(&row.account).copied().unwrap_or_default();
        let expected =
            [balance(&row.account, &opening), debits, credits, balance(&row.account, &closing)];
        let found = [&row.opening, &row.debits, &row.credits, &row.closing];
        assert_eq!(found.map(|text| micros(text)), expected, "{row:?} from {from} to {to}");
    }
    let entries = paged(finance, account, from, to).await;
    let seqs: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, between.iter().map(|line| line.version).collect::<Vec<_>>());
    assert_eq!(entries, told.entries);
    assert_eq!(told.transfers, i64::try_from(between.len()).unwrap());
}

/// The transfers of a statement, read in pages.
async fn paged(finance: &Finance, account: BookId, from: Time, to: Time) -> Vec<HistoryEntry> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let period = Period { from, to, after, limit: 97 };
        let page = finance.statement(account, period).await.unwrap().unwrap().entries;
        let Some(last) = page.last() else { return all };
        after = Some(last.seq);
        all.extend(page);
    }
}

#[test]
fn any_moment_of_any_history_is_what_the_journal_replays() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let db = runtime.block_on(test_database());
    let input = (
        prop::collection::vec(round(), 8..30),
        prop::collection::vec((any::<u32>(), any::<u32>(), -1..2_i64, -1..2_i64), 12),
    );

    let longest = std::cell::Cell::new(0);
    let case = |(rounds, picks): (Vec<Round>, Vec<Pick>)| {
        runtime.block_on(async {
            let pair = [1, 2]
                .map(|seed| Replica::new(&db, seed, bursar::ledger::EngineSettings::default()));
            // Everything lies in the past of the database, whatever the clocks do.
            pair.iter().for_each(|replica| replica.clock.advance(TimeDelta::days(-2)));
            let mut accounts = Vec::new();
            for _ in 0..3 {
                let account = scene::fresh_account(&pair[0].clock);
                accounts.push((account, pair[0].open_account(account).await[0]));
                pair[0].top_up(account, 1_000_000).await;
            }
            let accounts = [accounts[0], accounts[1], accounts[2]];
            play(&pair, accounts, &rounds).await;
            let finance = finance(&db);
            for (account, _) in accounts {
                let lines = journal(&db.owner, account).await;
                longest.set(longest.get().max(lines.len()));
                for (one, two, one_off, two_off) in &picks {
                    let pick = |pick: u32, off: i64| {
                        let line = &lines[usize::try_from(pick).unwrap() % lines.len()];
                        line.recorded_at + TimeDelta::microseconds(off)
                    };
                    let mut moments = [pick(*one, *one_off), pick(*two, *two_off)];
                    moments.sort_unstable();
                    compare(&finance, account, &lines, moments).await;
                }
            }
        });
        Ok(())
    };
    scene::runner(12).run(&input, case).unwrap_or_else(|error| panic!("{error}"));
    assert!(longest.get() > 256, "no book was long enough for a snapshot: {longest:?}");
    runtime.block_on(snapshots_follow_from_the_journal(&db.owner));
}

/// Every multiple of 256 has its snapshot, which is the sum of the journal up to there.
async fn snapshots_follow_from_the_journal(pool: &PgPool) {
    let wrong: i64 = sqlx::query_scalar(
        "with due as (select slot, book_id, version, recorded_at from transfer
                      where version % 256 = 0)
         select count(*) from due d
         full join book_snapshot s using (slot, book_id, version)
         where s.recorded_at is distinct from d.recorded_at or exists (
           select from role r
           where s.debits[r.role] is distinct from (
               select coalesce(sum(amount), 0) from transfer t where t.slot = d.slot
                 and t.book_id = d.book_id and t.version <= d.version and t.debit = r.role)
             or s.credits[r.role] is distinct from (
               select coalesce(sum(amount), 0) from transfer t where t.slot = d.slot
                 and t.book_id = d.book_id and t.version <= d.version and t.credit = r.role))",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(wrong, 0);
}
