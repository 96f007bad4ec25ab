-- Everything that a batch of checkouts of different accounts writes, in one statement and without a
-- single join but by primary key: one item each, paid from the only open lot of its book, counted by
-- the caps of its account.
with op as materialized (
  select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[],
                       $7::uuid[], $8::bytea[], $9::text[])
    as u(slot, book_id, key_id, transaction_id, hold_id, checkout_id, command, fingerprint, body)),
moved as (
  update book b set version = b.version + 1, event_seq = b.event_seq + 1,
         recorded_at = greatest(b.recorded_at, clock_timestamp()),
         promo = b.promo - $10::bigint, promo_held = b.promo_held + $10::bigint
  from op where b.slot = op.slot and b.book_id = op.book_id
  returning op.*, b.version, b.event_seq, b.recorded_at, b.promo, b.promo_held),
row_of as (
  update lot l set remaining = l.remaining - $10::bigint, open = l.remaining - $10::bigint > 0
  from moved m where l.slot = m.slot and l.book_id = m.book_id and l.open
  returning m.*, l.lot_id),
counted as (
  insert into cap_usage (slot, book_id, cap_id, window_start, used)
  select c.slot, c.book_id, c.cap_id, case c.span when 'day' then date_trunc('day', now(), 'UTC')
           when 'month' then date_trunc('month', now(), 'UTC') else 'epoch'::timestamptz end,
         $10::bigint
  from op cross join lateral (
    select * from cap where slot = op.slot and book_id = op.book_id offset 0) c
  on conflict (slot, book_id, cap_id, window_start) do update set used = cap_usage.used + excluded.used),
transfers as (
  insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id, amount,
    debit_after, credit_after, recorded_at, effective_at, movement, debit, credit)
  select slot, book_id, version, transaction_id, hold_id, lot_id, $10, promo, promo_held,
         recorded_at, recorded_at, 3, 5, 6
  from row_of),
holds as (
  insert into hold (slot, book_id, hold_id, spender_id, transaction_id, amount, draw_lots,
    draw_amounts, placed_at)
  select slot, book_id, hold_id, key_id, transaction_id, $10, array[lot_id], array[$10::bigint],
         recorded_at
  from row_of),
checkouts as (
  insert into checkout (slot, book_id, checkout_id, key_id, max_total, total, created_at)
  select slot, book_id, checkout_id, key_id, $10 * 10, $10, recorded_at from row_of),
items as (
  insert into checkout_item (slot, book_id, checkout_id, item, hold_id, sku, sku_version, quantity,
    unit_price, deliver_by, verification_deadline_s, dispute_window_s, dispute_decision_s)
  select slot, book_id, checkout_id, 1, hold_id, $11, 1, 1, $10, recorded_at + interval '1 day',
         86400, 86400, 86400
  from row_of),
outcomes as (
  insert into outcome (slot, book_id, command, fingerprint, accepted, recorded_at, body)
  select slot, book_id, command, fingerprint, true, recorded_at, body from row_of),
events as (
  insert into outbox (slot, book_id, seq, kind, subject_id, recorded_at)
  select slot, book_id, event_seq, 'checkout.opened', checkout_id, recorded_at from row_of)
-- The books that have come to a version at which a snapshot is due.
select slot, book_id, version from row_of where version % 256 = 0
