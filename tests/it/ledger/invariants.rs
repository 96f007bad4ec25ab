//! What must hold in the database whatever happened, each as one query that names what breaks it.

use sqlx::PgPool;

/// Every query returns the rows that are wrong.
const INVARIANTS: [(&str, &str); 13] = [
    (
        "balances are the sums of the journal",
        "select b.book_id::text || ' ' || r.name
         from book b
         cross join role r
         left join transfer t on t.slot = b.slot and t.book_id = b.book_id
                             and r.role in (t.debit, t.credit)
         group by b.slot, b.book_id, r.role
         having coalesce(sum(case when (r.normal_side = 'debit') = (r.role = t.debit)
                                  then t.amount else -t.amount end), 0)
             <> (array[b.settled_usdc, b.prepaid, b.held, b.promo_issued, b.promo, b.promo_held,
                       b.revenue, b.reversed_revenue, b.breakage, b.settlement_loss])[r.role]",
    ),
    (
        "versions have no gap",
        "select b.book_id::text from book b
         left join transfer t on t.slot = b.slot and t.book_id = b.book_id
         group by b.slot, b.book_id
         having count(t.version) <> b.version or coalesce(max(t.version), 0) <> b.version",
    ),
    (
        "a book's time never runs backwards",
        "select book_id::text || ' ' || version from (
           select book_id, version, recorded_at,
                  lag(recorded_at) over (partition by slot, book_id order by version) as before
           from transfer) t where recorded_at < before",
    ),
    (
        "lots are the available balance",
        "select b.book_id::text from book b
         left join lot l on l.slot = b.slot and l.book_id = b.book_id
         group by b.slot, b.book_id
         having coalesce(sum(l.remaining) filter (where l.paid), 0) <> b.prepaid
             or coalesce(sum(l.remaining) filter (where not l.paid), 0) <> b.promo",
    ),
    (
        "each lot is what the journal left of it",
        "select l.lot_id::text from lot l
         left join transfer t on t.slot = l.slot and t.book_id = l.book_id and t.lot_id = l.lot_id
         group by l.slot, l.book_id, l.lot_id
         having l.remaining <> coalesce(sum(t.amount) filter (where t.credit in (2, 5)), 0)
                             - coalesce(sum(t.amount) filter (where t.debit in (2, 5)), 0)",
    ),
    (
        "open holds are the held balance",
        "select b.book_id::text from book b
         left join hold h on h.slot = b.slot and h.book_id = b.book_id
         group by b.slot, b.book_id
         having coalesce(sum(h.amount - h.captured - h.released), 0) <> b.held + b.promo_held",
    ),
    (
        "a hold is the sum of its draws",
        "select hold_id::text from hold
         where amount <> (select sum(part) from unnest(draw_amounts) part)",
    ),
    (
        "captures are what their holds say",
        "select h.hold_id::text from hold h
         left join capture c on c.slot = h.slot and c.book_id = h.book_id and c.hold_id = h.hold_id
         group by h.slot, h.book_id, h.hold_id
         having coalesce(sum(c.amount), 0) <> h.captured
             or coalesce(sum(c.reversed), 0) <> h.reversed",
    ),
    (
        "charges and reversals are what was captured and given back",
        "select c.charge_id::text from charge c
         left join capture k on k.slot = c.slot and k.book_id = c.book_id
                            and k.capture_id = c.charge_id
         left join reversal r on r.slot = c.slot and r.book_id = c.book_id
                             and r.charge_id = c.charge_id
         group by c.slot, c.book_id, c.charge_id, k.amount, k.reversed
         having k.amount is distinct from c.amount or k.reversed <> c.reversed
             or coalesce(sum(r.amount), 0) <> c.reversed",
    ),
    (
        "items and results add up to their holds",
        "select i.checkout_id::text || ' ' || i.item from checkout_item i
         join hold h on h.slot = i.slot and h.book_id = i.book_id and h.hold_id = i.hold_id
         left join result r on r.slot = i.slot and r.book_id = i.book_id
                           and r.checkout_id = i.checkout_id and r.item = i.item
         group by i.slot, i.book_id, i.checkout_id, i.item, h.captured, h.released
         having i.settled * i.unit_price <> h.captured + h.released
             or coalesce(sum(r.quantity), 0) <> i.submitted
             or coalesce(sum(r.accepted), 0) * i.unit_price <> h.captured",
    ),
    (
        "caps have counted what their holds say",
        "select u.cap_id::text || ' ' || u.window_start from cap_usage u
         join cap c on c.slot = u.slot and c.book_id = u.book_id and c.cap_id = u.cap_id
         where u.used <> (
           select coalesce(sum(h.amount - h.released - h.reversed), 0) from hold h
           where h.slot = u.slot and h.book_id = u.book_id
             and (c.spender_id is null or c.spender_id = h.spender_id)
             and case c.span when 'day' then date_trunc('day', h.placed_at, 'utc')
                             when 'month' then date_trunc('month', h.placed_at, 'utc')
                             else 'epoch' end = u.window_start)",
    ),
    (
        "what is lost of void payments is what their lots say, and nothing is left of these",
        "select b.book_id::text from book b
         left join lot l on l.slot = b.slot and l.book_id = b.book_id and l.lost is not null
         group by b.slot, b.book_id
         having coalesce(sum(l.lost), 0) <> b.settlement_loss or sum(l.remaining) > 0",
    ),
    (
        "events have no gap",
        "select b.book_id::text from book b
         left join outbox o on o.slot = b.slot and o.book_id = b.book_id
         group by b.slot, b.book_id
         having count(o.seq) <> b.event_seq or coalesce(max(o.seq), 0) <> b.event_seq",
    ),
];

/// Every invariant, over all books.
pub async fn hold_in(pool: &PgPool) {
    for (what, sql) in INVARIANTS {
        let broken: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
        assert!(broken.is_empty(), "{what}: {broken:?}");
    }
}
