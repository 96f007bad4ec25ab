//! Pages of the ids of a book's rows, table by table, for what no transfer leads to. Holds and items
//! are not listed by book: of them it is the strays that a lap has found ([`super::strays`]).

use sqlx::PgConnection;
use uuid::Uuid;

/// The id of a row of a book.
pub struct RowId {
    pub book_id: Uuid,
    pub id: Uuid,
    /// Whether the walk through the transfers does not come by it.
    pub orphan: bool,
}

/// The tables whose rows are looked through, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Holds,
    Captures,
    Charges,
    Reversals,
    Disputes,
    Checkouts,
    Items,
    Results,
    Verifications,
    Quotes,
    Topups,
    Grants,
    Lots,
}

impl Table {
    pub const ALL: [Self; 13] = [
        Self::Holds,
        Self::Captures,
        Self::Charges,
        Self::Reversals,
        Self::Disputes,
        Self::Checkouts,
        Self::Items,
        Self::Results,
        Self::Verifications,
        Self::Quotes,
        Self::Topups,
        Self::Grants,
        Self::Lots,
    ];
}

/// The next ids of some books' rows of a table, at most `limit` of each book.
pub async fn page(
    tx: &mut PgConnection,
    table: Table,
    books: &[Uuid],
    after: Uuid,
    limit: i64,
) -> Result<Vec<RowId>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    match table {
        Table::Holds => hold(tx, &slots, books, after, limit).await,
        Table::Captures => capture(tx, &slots, books, after, limit).await,
        Table::Charges => charge(tx, &slots, books, after, limit).await,
        Table::Reversals => reversal(tx, &slots, books, after, limit).await,
        Table::Disputes => dispute(tx, &slots, books, after, limit).await,
        Table::Checkouts => checkout(tx, &slots, books, after, limit).await,
        Table::Items => checkout_item(tx, &slots, books, after, limit).await,
        Table::Results => result(tx, &slots, books, after, limit).await,
        Table::Verifications => verification(tx, &slots, books, after, limit).await,
        Table::Quotes => quote(tx, &slots, books, after, limit).await,
        Table::Topups => topup(tx, &slots, books, after, limit).await,
        Table::Grants => credit_grant(tx, &slots, books, after, limit).await,
        Table::Lots => lot(tx, &slots, books, after, limit).await,
    }
}

/// A page query per table. Tables whose rows are told from orphans in the same way stand together.
macro_rules! pages {
    ($($kept:literal { $($table:ident: $ids:literal;)* })*) => {
        $($(async fn $table(
            tx: &mut PgConnection,
            slots: &[i16],
            books: &[Uuid],
            after: Uuid,
            limit: i64,
        ) -> Result<Vec<RowId>, sqlx::Error> {
            sqlx::query_as!(
                RowId,
                r#"select u.book_id as "book_id!", r.id as "id!", o.orphan as "orphan!"
        from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
        cross join lateral ("# + $ids + r#" limit $4) r
        cross join lateral (select count(*) = 0 as orphan from ("# + $kept + r#" limit 1) t) o
        order by u.book_id, r.id"#,
                slots,
                books,
                after,
                limit
            )
            .fetch_all(tx)
            .await
        })*)*
    };
}

pages! {
    "select * from transfer where slot = u.slot and subject_id = r.id and book_id = u.book_id
       and movement = any (array(select movement from movement where name in ('hold', 'release')))" {
        hold: "select id from proof_stray where slot = u.slot and book_id = u.book_id
                 and kind = 'hold' and id > $3 order by id";
    }
    "select * from transfer where slot = u.slot and subject_id = r.id and book_id = u.book_id
       and movement = any (array(
         select movement from movement where name in ('capture', 'reversal')))" {
        capture: "select capture_id as id from capture
                  where slot = u.slot and book_id = u.book_id and capture_id > $3
                  order by capture_id";
        charge: "select charge_id as id from charge
                 where slot = u.slot and book_id = u.book_id and charge_id > $3
                 order by charge_id";
        reversal: "select distinct charge_id as id from reversal
                   where slot = u.slot and book_id = u.book_id and charge_id > $3
                   order by charge_id";
        dispute: "select distinct charge_id as id from dispute
                  where slot = u.slot and book_id = u.book_id and charge_id > $3
                  order by charge_id";
    }
    "select * from transfer where slot = u.slot and subject_id = r.id and book_id = u.book_id
       and movement = any (array(
         select movement from movement where name in ('topup', 'void', 'reinstatement')))" {
        topup: "select topup_id as id from topup
                where slot = u.slot and book_id = u.book_id and topup_id > $3 order by topup_id";
    }
    "select * from transfer where slot = u.slot and subject_id = r.id and book_id = u.book_id
       and movement = any (array(select movement from movement where name = 'grant'))" {
        credit_grant: "select grant_id as id from credit_grant
                       where slot = u.slot and book_id = u.book_id and grant_id > $3
                       order by grant_id";
    }
    "select t.* from (
       select * from checkout_item where slot = u.slot and book_id = u.book_id
         and checkout_id = r.id offset 0) i
     cross join lateral (
       select * from transfer where slot = u.slot and subject_id = i.hold_id
         and book_id = u.book_id offset 0) t" {
        checkout: "select checkout_id as id from checkout
                   where slot = u.slot and book_id = u.book_id and checkout_id > $3
                   order by checkout_id";
        checkout_item: "select id from proof_stray where slot = u.slot and book_id = u.book_id
                          and kind = 'checkout_item' and id > $3 order by id";
        result: "select distinct checkout_id as id from result
                 where slot = u.slot and book_id = u.book_id and checkout_id > $3
                 order by checkout_id";
        verification: "select distinct checkout_id as id from verification
                       where slot = u.slot and book_id = u.book_id and checkout_id > $3
                       order by checkout_id";
    }
    "select * from (
       select * from quote where slot = u.slot and book_id = u.book_id
         and quote_id = r.id offset 0) q
     cross join lateral (
       select * from checkout where slot = u.slot and book_id = u.book_id
         and checkout_id = q.checkout_id offset 0) k" {
        quote: "select quote_id as id from quote
                where slot = u.slot and book_id = u.book_id and quote_id > $3
                  and checkout_id is not null order by quote_id";
    }
    "select * from proof_lot where slot = u.slot and book_id = u.book_id and walk = 'lap'
       and lot_id = r.id" {
        lot: "select lot_id as id from lot
              where slot = u.slot and book_id = u.book_id and lot_id > $3 order by lot_id";
    }
}
