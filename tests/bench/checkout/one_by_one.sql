-- One checkout of one item in one transaction, with the checks that the engine makes: the lock, the
-- idempotency key, the spender, the caps and the balance.
create or replace function bench_checkout(
  p_slot smallint, p_book uuid, p_key uuid, p_transaction uuid, p_hold uuid, p_checkout uuid,
  p_command uuid, p_fingerprint bytea, p_body text, p_price bigint, p_sku text
) returns text language plpgsql as $$
declare
  b book;
  l lot;
  c record;
  at timestamptz;
  stored text;
begin
  select * into b from book where slot = p_slot and book_id = p_book for no key update;
  at := greatest(b.recorded_at, clock_timestamp());
  select body into stored from outcome
   where slot = p_slot and book_id = p_book and command = p_command;
  if found then
    return stored;
  end if;
  perform from spender where slot = p_slot and book_id = p_book and spender_id = p_key
    and revoked_at is null and (expires_at is null or expires_at > at);
  if not found or b.frozen_at is not null then
    raise exception 'this key may not spend';
  end if;
  for c in
    select cap.cap_id, limit_amount, coalesce(u.used, 0) as used, w.start
    from cap
    cross join lateral (select case span when 'day' then date_trunc('day', at, 'UTC')
      when 'month' then date_trunc('month', at, 'UTC') else 'epoch'::timestamptz end as start) w
    left join cap_usage u on u.slot = cap.slot and u.book_id = cap.book_id
      and u.cap_id = cap.cap_id and u.window_start = w.start
    where cap.slot = p_slot and cap.book_id = p_book
      and (spender_id is null or spender_id = p_key)
  loop
    if c.used + p_price > c.limit_amount then
      raise exception 'cap exceeded';
    end if;
    insert into cap_usage (slot, book_id, cap_id, window_start, used)
    values (p_slot, p_book, c.cap_id, c.start, p_price)
    on conflict (slot, book_id, cap_id, window_start)
    do update set used = cap_usage.used + excluded.used;
  end loop;
  select * into l from lot where slot = p_slot and book_id = p_book and open
   order by priority, expires_at nulls last, paid, granted_at, lot_id limit 1;
  if l.remaining < p_price or b.promo < p_price then
    raise exception 'not enough credits';
  end if;
  update book set version = b.version + 1, event_seq = b.event_seq + 1, recorded_at = at,
    promo = b.promo - p_price, promo_held = b.promo_held + p_price
   where slot = p_slot and book_id = p_book;
  update lot set remaining = l.remaining - p_price, open = l.remaining > p_price
   where slot = p_slot and book_id = p_book and lot_id = l.lot_id;
  insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id, amount,
    debit_after, credit_after, recorded_at, effective_at, movement, debit, credit)
  values (p_slot, p_book, b.version + 1, p_transaction, p_hold, l.lot_id, p_price,
    b.promo - p_price, b.promo_held + p_price, at, at, 3, 5, 6);
  insert into hold (slot, book_id, hold_id, spender_id, transaction_id, amount, draw_lots,
    draw_amounts, placed_at)
  values (p_slot, p_book, p_hold, p_key, p_transaction, p_price, array[l.lot_id], array[p_price], at);
  insert into checkout (slot, book_id, checkout_id, key_id, max_total, total, created_at)
  values (p_slot, p_book, p_checkout, p_key, p_price * 10, p_price, at);
  insert into checkout_item (slot, book_id, checkout_id, item, hold_id, sku, sku_version, quantity,
    unit_price, deliver_by, verification_deadline_s, dispute_window_s,
    dispute_decision_s)
  values (p_slot, p_book, p_checkout, 1, p_hold, p_sku, 1, 1, p_price, at + interval '1 day',
    86400, 86400, 86400);
  insert into outcome (slot, book_id, command, fingerprint, accepted, recorded_at, body)
  values (p_slot, p_book, p_command, p_fingerprint, true, at, p_body);
  insert into outbox (slot, book_id, seq, kind, subject_id, recorded_at)
  values (p_slot, p_book, b.event_seq + 1, 'checkout.opened', p_checkout, at);
  if (b.version + 1) % 256 = 0 then
    perform bench_snapshot(p_slot, p_book, b.version + 1);
  end if;
  return p_body;
end
$$;

-- The snapshot of a book at a version, from the one before it and the transfers between.
create or replace function bench_snapshot(p_slot smallint, p_book uuid, p_version bigint)
returns void language plpgsql as $$
declare
  base book_snapshot;
begin
  select * into base from book_snapshot
   where slot = p_slot and book_id = p_book and version < p_version order by version desc limit 1;
  insert into book_snapshot (slot, book_id, version, recorded_at, debits, credits)
  select p_slot, p_book, p_version, max(at),
         array_agg(coalesce(base.debits[role], 0) + debited order by role),
         array_agg(coalesce(base.credits[role], 0) + credited order by role)
  from (
    select role.role, coalesce(sum(t.amount) filter (where t.debit = role.role), 0)::bigint as debited,
           coalesce(sum(t.amount) filter (where t.credit = role.role), 0)::bigint as credited,
           max(t.recorded_at) as at
    from transfer t cross join role
    where t.slot = p_slot and t.book_id = p_book
      and t.version > coalesce(base.version, 0) and t.version <= p_version
    group by role.role) sums;
end
$$;
grant execute on function bench_checkout, bench_snapshot to bursar_service;
