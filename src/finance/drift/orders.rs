//! What stands beside a checkout's money: who is asked about its results, and the quote that it was
//! opened with. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::orders::QuoteRow;

use super::finding::{Findings, shown};
use super::subjects::Subjects;

/// Compares what stands beside every checkout of a step.
pub(super) fn compare(all: &Subjects, findings: &mut Findings) {
    verifications(all, findings);
    for quote in &all.quotes {
        named(quote, findings);
    }
}

/// A result, by its book, its checkout and its name.
type ResultKey<'a> = (Uuid, Uuid, &'a str);

/// Who is to judge a result, and who is asked about it.
type Judges = (Option<Uuid>, Option<Uuid>);

/// A result is for its SKU's verifier to judge, where that version of the SKU has one and the schema
/// has not settled it; about no other is anybody asked.
fn verifications(all: &Subjects, findings: &mut Findings) {
    let judges: BTreeMap<(Uuid, Uuid, i16), Option<Uuid>> = all
        .items
        .iter()
        .map(|item| ((item.book_id, item.checkout_id, item.item), item.verifier_id))
        .collect();
    let mut pairs: BTreeMap<ResultKey<'_>, Judges> = BTreeMap::new();
    for result in all.results.iter().filter(|result| !result.by_schema) {
        let judge = judges.get(&(result.book_id, result.checkout_id, result.item)).copied();
        let key = (result.book_id, result.checkout_id, result.result_id.as_str());
        pairs.entry(key).or_default().0 = judge.flatten();
    }
    for row in &all.verifications {
        let key = (row.book_id, row.checkout_id, row.result_id.as_str());
        pairs.entry(key).or_default().1 = Some(row.verifier_id);
    }
    for ((book, checkout, result), (judge, asked)) in pairs {
        if judge == asked {
            continue;
        }
        let who = |id: Option<Uuid>| id.map_or("nobody".to_owned(), |id| shown("vfr", id));
        let (result, checkout) = (serde_json::Value::from(result), shown("chk", checkout));
        let (judge, asked) = (who(judge), who(asked));
        let subject =
            format!("result {result} of {checkout} is for {judge} to judge, and {asked} is asked");
        findings.add(Rule::VerificationsMatchResults, book, subject, None);
    }
}

/// A quote that was accepted names a checkout of its book, which sells its lines at its prices; no
/// other quote names that one.
fn named(quote: &QuoteRow, findings: &mut Findings) {
    let fault = if !quote.there {
        "is not there"
    } else if quote.naming > 1 {
        "another quote names too"
    } else if quote.lines.map(i64::from) != Some(quote.items) || quote.alike != quote.items {
        "sells something else"
    } else {
        return;
    };
    let (id, checkout) = (shown("quo", quote.quote_id), shown("chk", quote.checkout_id));
    let subject = format!("{id} names {checkout}, which {fault}");
    findings.add(Rule::QuotesMatchCheckouts, quote.book_id, subject, None);
}
