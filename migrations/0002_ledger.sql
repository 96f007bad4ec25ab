-- The ledger. Every rule that the engine enforces stands here a second time, as row shape, CHECK,
-- unique constraint or grant. There are no foreign keys between hot tables: rows of one transaction
-- are written together by the only writer, and the checks of `bursar check` would name a stray one.
--
-- slot is the last byte of the book's id (0 to 255) and leads every key: it is the distribution
-- column when the database grows past one machine.
--
-- What every checkout writes and nothing lists by book is keyed by (slot, id): ids are UUIDv7, so that
-- a slot's rows arrive at the right edge of its part of the index, and 256 pages take every insert.
-- Keys that begin with the book have as many edges as there are busy books, and each of those pages
-- goes into the log whole after a checkpoint.

-- The chart of accounts: the same roles in every book.
create table role (
  role        smallint primary key,
  name        text     not null unique,
  kind        text     not null check (kind in ('asset', 'liability', 'contra_liability', 'income', 'contra_income', 'expense')),
  normal_side text     not null check (normal_side in ('debit', 'credit'))
);
insert into role (role, name, kind, normal_side) values
  (1, 'settled_usdc',     'asset',            'debit'),
  (2, 'prepaid',          'liability',        'credit'),
  (3, 'held',             'liability',        'credit'),
  (4, 'promo_issued',     'contra_liability', 'debit'),
  (5, 'promo',            'liability',        'credit'),
  (6, 'promo_held',       'liability',        'credit'),
  (7, 'revenue',          'income',           'credit'),
  (8, 'reversed_revenue', 'contra_income',    'debit'),
  (9, 'breakage',         'income',           'credit'),
  (10, 'settlement_loss', 'expense',          'debit');

-- Every way money moves, and between which roles: nothing else can be written.
create table movement (
  movement smallint not null,
  name     text     not null,
  debit    smallint not null references role,
  credit   smallint not null references role,
  primary key (movement, debit, credit)
);
insert into movement (movement, name, debit, credit) values
  (1, 'topup',    1, 2),
  (2, 'grant',    4, 5),
  (3, 'hold',     2, 3), (3, 'hold',     5, 6),
  (4, 'capture',  3, 7), (4, 'capture',  6, 4),
  (5, 'release',  3, 2), (5, 'release',  6, 5),
  (6, 'reversal', 8, 2), (6, 'reversal', 4, 5),
  (7, 'expiry',   2, 9), (7, 'expiry',   5, 4),
  (8, 'void',     2, 1), (8, 'void',    10, 1),
  (9, 'recovery', 2, 10),
  (10, 'reinstatement', 1, 2), (10, 'reinstatement', 1, 10);

-- One book per customer, and one for the house. The row carries the balance of every role, so that
-- a transaction locks and updates one row per book, in place (HOT: no changed column is indexed).
-- Amounts are micro-dollars, each on the normal side of its role, and never below zero.
create table book (
  slot             smallint    not null,
  book_id          uuid        not null,
  kind             text        not null default 'customer' check (kind in ('customer', 'house')),
  version          bigint      not null default 0 check (version >= 0),
  event_seq        bigint      not null default 0 check (event_seq >= 0),
  recorded_at      timestamptz not null,
  frozen_at        timestamptz,
  settled_usdc     bigint      not null default 0,
  prepaid          bigint      not null default 0,
  held             bigint      not null default 0,
  promo_issued     bigint      not null default 0,
  promo            bigint      not null default 0,
  promo_held       bigint      not null default 0,
  revenue          bigint      not null default 0,
  reversed_revenue bigint      not null default 0,
  breakage         bigint      not null default 0,
  settlement_loss  bigint      not null default 0,
  created_at       timestamptz not null,
  primary key (slot, book_id),
  constraint book_slot_is_last_byte check (slot = get_byte(uuid_send(book_id), 15)),
  constraint book_no_negative_balance check (
    settled_usdc >= 0 and prepaid >= 0 and held >= 0 and promo_issued >= 0 and promo >= 0
    and promo_held >= 0 and revenue >= 0 and reversed_revenue >= 0 and breakage >= 0
    and settlement_loss >= 0),
  constraint book_balanced check (
    settled_usdc + promo_issued + reversed_revenue + settlement_loss
    = prepaid + held + promo + promo_held + revenue + breakage),
  constraint book_promo_matches check (promo_issued = promo + promo_held),
  constraint book_reversed_within_revenue check (reversed_revenue <= revenue)
) with (fillfactor = 50);
-- A book begins empty: nothing else can be inserted.
grant select on book to bursar_service;
grant insert (slot, book_id, recorded_at, created_at) on book to bursar_service;
grant update (version, event_seq, recorded_at, frozen_at, settled_usdc, prepaid, held, promo_issued,
              promo, promo_held, revenue, reversed_revenue, breakage, settlement_loss)
  on book to bursar_service;

-- The house book holds what belongs to no customer, staff keys among it.
insert into book (slot, book_id, kind, recorded_at, created_at)
values (0, '00000000-0000-7000-8000-000000000000', 'house', now(), now());

-- The journal. One row has one debit, one credit and one positive amount: it cannot be unbalanced.
-- version is gap-free in the book, so (slot, book_id, version) names a transfer.
create table transfer (
  book_id        uuid        not null,
  transaction_id uuid        not null,
  subject_id     uuid        not null,  -- the top-up, grant, hold, capture or lot it belongs to
  lot_id         uuid        not null,
  reverses_id    uuid,                  -- the transaction that this one undoes
  version        bigint      not null,
  amount         bigint      not null,
  debit_after    bigint      not null,
  credit_after   bigint      not null,
  recorded_at    timestamptz not null,
  effective_at   timestamptz not null,
  slot           smallint    not null,
  movement       smallint    not null,
  debit          smallint    not null,
  credit         smallint    not null,
  primary key (slot, book_id, version),
  constraint transfer_amount_positive check (amount > 0),
  constraint transfer_version_positive check (version > 0),
  constraint transfer_balances_not_negative check (debit_after >= 0 and credit_after >= 0),
  -- Movement, debit and credit as one number, because the text of a CHECK is read anew for every
  -- statement: a list of rows of three takes several times as long.
  constraint transfer_movement_listed check (movement * 10000 + debit * 100 + credit = any (
    '{10102, 20405, 30203, 30506, 40307, 40604, 50302, 50605, 60802, 60405, 70209, 70504,
      80201, 81001, 90210, 100102, 100110}'::int[]))
);
create index transfer_subject on transfer (slot, subject_id);
grant select, insert on transfer to bursar_service;
call make_append_only('transfer');

-- A lot: one grant of credits with what is left of it. No lot's date ever changes.
create table lot (
  slot         smallint    not null,
  book_id      uuid        not null,
  lot_id       uuid        not null,
  paid         boolean     not null,
  open         boolean     not null,
  priority     smallint    not null check (priority between 0 and 100),
  amount       bigint      not null check (amount > 0),
  remaining    bigint      not null,
  granted_at   timestamptz not null,
  effective_at timestamptz not null,  -- from when on it was meant to be there
  expires_at   timestamptz,
  origin_id    uuid        not null,  -- the top-up or grant, or the reversal or release that made it
  parent_id    uuid,                  -- the expired lot whose money came back into this one
  lost         bigint,                -- of a void settlement: what was spent of it and has not come back
  primary key (slot, book_id, lot_id),
  constraint lot_remaining_within_amount check (remaining between 0 and amount),
  constraint lot_open_while_remaining check (open = (remaining > 0)),
  -- Credits whose money turned out not to be there cannot be spent, whatever comes back to their lot.
  constraint lot_void_has_nothing_left check
    (lost is null or (paid and remaining = 0 and lost between 0 and amount)),
  -- What is given for later is booked later. A payment takes effect by the clock of its chain.
  constraint lot_not_before_effective check (paid or effective_at <= granted_at)
) with (fillfactor = 70);
create index lot_open on lot (slot, book_id, lot_id) where open;
create index lot_due on lot (expires_at) where open and expires_at is not null;
create index lot_void on lot (slot, book_id) where lost is not null;
grant select, insert on lot to bursar_service;
grant update (open, remaining, lost) on lot to bursar_service;

-- A hold: credits reserved for one checkout item. The draws say from which lots, in burn order, and
-- never change: a capture takes them from the front, a release from the back, so that the counters
-- alone say what has become of each draw.
create table hold (
  slot           smallint    not null,
  book_id        uuid        not null,
  hold_id        uuid        not null,
  spender_id     uuid        not null,
  transaction_id uuid        not null,
  amount         bigint      not null check (amount > 0),
  captured       bigint      not null default 0 check (captured >= 0),
  released       bigint      not null default 0 check (released >= 0),
  reversed       bigint      not null default 0 check (reversed >= 0),
  draw_lots      uuid[]      not null,
  draw_amounts   bigint[]    not null,
  placed_at      timestamptz not null,
  primary key (slot, hold_id),
  constraint hold_taken_within_amount check (captured + released <= amount),
  constraint hold_reversed_within_captured check (reversed <= captured),
  constraint hold_draws_pair check (cardinality(draw_lots) = cardinality(draw_amounts)
                                    and cardinality(draw_lots) > 0)
) with (fillfactor = 70);
grant select, insert on hold to bursar_service;
grant update (captured, released, reversed) on hold to bursar_service;

-- A capture: the part of a hold taken for one result. draw_offset is where it begins in the hold's
-- draws; a reversal gives back from its end.
create table capture (
  slot           smallint    not null,
  book_id        uuid        not null,
  capture_id     uuid        not null,
  hold_id        uuid        not null,
  transaction_id uuid        not null,
  draw_offset    bigint      not null check (draw_offset >= 0),
  amount         bigint      not null check (amount > 0),
  reversed       bigint      not null default 0,
  captured_at    timestamptz not null,
  primary key (slot, book_id, capture_id),
  constraint capture_reversed_within_amount check (reversed between 0 and amount)
) with (fillfactor = 70);
grant select, insert on capture to bursar_service;
grant update (reversed) on capture to bursar_service;

-- A spender: a key that may draw on a book. Its state, expiry and allow-list are read under the
-- book's lock, never from a cache.
create table spender (
  slot       smallint    not null,
  book_id    uuid        not null,
  spender_id uuid        not null,
  skus       text[],
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (slot, book_id, spender_id)
);
grant select, insert on spender to bursar_service;
grant update (revoked_at) on spender to bursar_service;

-- Caps: hard upper bounds, of the account (spender_id null) or of one key.
create table cap (
  slot         smallint    not null,
  book_id      uuid        not null,
  cap_id       uuid        not null,
  spender_id   uuid,
  span         text        not null check (span in ('checkout', 'day', 'month', 'total')),
  limit_amount bigint      not null check (limit_amount >= 0),
  created_at   timestamptz not null,
  primary key (slot, book_id, cap_id),
  constraint cap_one_per_span unique nulls not distinct (slot, book_id, spender_id, span)
);
grant select, insert on cap to bursar_service;
grant update (limit_amount) on cap to bursar_service;

-- What counts against a cap in one UTC window: open holds + captures - reversals, in the window in
-- which the hold was placed. A window of span total begins at the epoch.
create table cap_usage (
  slot         smallint    not null,
  book_id      uuid        not null,
  cap_id       uuid        not null,
  window_start timestamptz not null,
  used         bigint      not null,
  primary key (slot, book_id, cap_id, window_start),
  constraint cap_usage_not_negative check (used >= 0)
) with (fillfactor = 70);
grant select, insert on cap_usage to bursar_service;
grant update (used) on cap_usage to bursar_service;

-- Frozen outcomes, refusals included, without expiry. command is made of the SHA-256 of principal and
-- idempotency key, or of the effect, and unique in its book; fingerprint is that of the request. The
-- key is random by nature, so it is kept short: its index is the one whose every page is written to.
create table outcome (
  slot        smallint    not null,
  book_id     uuid        not null,
  command     uuid        not null,
  fingerprint bytea       not null check (length(fingerprint) = 32),
  accepted    boolean     not null,
  recorded_at timestamptz not null,
  body        text        not null,
  primary key (slot, book_id, command)
);
grant select, insert on outcome to bursar_service;
call make_append_only('outcome');

-- The transactional outbox: what happened, in the book's own gap-free order.
create table outbox (
  slot        smallint    not null,
  book_id     uuid        not null,
  seq         bigint      not null,
  kind        text        not null,
  subject_id  uuid        not null,
  recorded_at timestamptz not null,
  detail      text,  -- which part of the subject, where it has several
  primary key (slot, book_id, seq)
);
grant select, insert on outbox to bursar_service;
call make_append_only('outbox');

grant select on role, movement to bursar_service;

-- Up to when the past is told. Whoever is shown a past moment first moves this up to it, and the
-- engine records nothing before it, whatever the clock says afterwards: a figure of a past moment
-- stays what it was told to be, for ever. See src/ledger/store/past.rs.
create table past (
  one          boolean     not null default true primary key check (one),
  closed_until timestamptz not null
);
insert into past (closed_until) values ('epoch');
grant select on past to bursar_service;
grant update (closed_until) on past to bursar_service;

-- Only what is over can be closed, and it is never opened again.
create function keep_past_closed() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and new.closed_until >= old.closed_until
     and new.closed_until <= clock_timestamp() then
    return new;
  end if;
  raise exception 'the past is closed, and the future is not' using errcode = 'restrict_violation';
end
$$;
create trigger past_stays_closed before update or delete on past
  for each row execute function keep_past_closed();
create trigger past_stays before truncate on past
  for each statement execute function refuse_change();

-- What each role of a book had been debited and credited in all when the book reached a version,
-- taken at every multiple of 256 in the transaction that passes it. Any version is then at most 255
-- transfers away from a snapshot, however long the book is. The arrays count roles from 1.
create table book_snapshot (
  slot        smallint    not null,
  book_id     uuid        not null,
  version     bigint      not null,
  recorded_at timestamptz not null,
  debits      bigint[]    not null,
  credits     bigint[]    not null,
  primary key (slot, book_id, version),
  constraint book_snapshot_at_a_multiple check (version > 0 and version % 256 = 0)
);
grant select, insert on book_snapshot to bursar_service;
call make_append_only('book_snapshot');

-- A ledger that came out of a backup. Until what has happened since is known, it takes no payment and
-- lets nothing be spent: the engine refuses while a restoration is not confirmed. Only the owner
-- writes here, through `bursar restore`. See src/ledger/store/restored.rs.
create table restoration (
  restoration_id uuid        not null primary key,
  restored_at    timestamptz not null,
  backup_as_of   timestamptz not null  -- the newest time that the backup had recorded
);
grant select on restoration to bursar_service;
call make_append_only('restoration');

-- That a restored ledger is in order again: who says so, how it is known, and why.
create table restoration_confirmed (
  restoration_id uuid        not null primary key references restoration,
  confirmed_at   timestamptz not null,
  confirmed_by   text        not null,
  how            text        not null check (how in ('operator', 'chain')),
  reason         text        not null check (reason <> '')
);
grant select on restoration_confirmed to bursar_service;
call make_append_only('restoration_confirmed');

-- What the constraints above cannot say, because it is about two rows or about a row's past.

-- The transfer before each transfer exists. With the primary key that leaves no gap and no repeat.
-- Only where a book begins within the statement's rows, which come in order, its last row before is
-- looked up; rows in any other order cost more look-ups. A scalar subquery has one plan, and that is
-- not a scan of the table, whatever the statistics of a young table say.
create function refuse_version_gap() returns trigger language plpgsql set enable_seqscan = off as $$
declare
  lonely record;
begin
  select * into lonely from (
    select slot, book_id, version, lag(book_id) over () as book_before,
           lag(version) over () as version_before
    from inserted) i
  where version > 1
    and (book_before is distinct from book_id or version_before is distinct from version - 1)
    and (select true from transfer t where t.slot = i.slot and t.book_id = i.book_id
           and t.version = i.version - 1) is null
  limit 1;
  if found then
    raise exception 'book % has no version before %', lonely.book_id, lonely.version
      using errcode = 'restrict_violation', constraint = tg_name, table = tg_table_name;
  end if;
  return null;
end
$$;
create trigger transfer_versions_have_no_gap after insert on transfer
  referencing new table as inserted for each statement execute function refuse_version_gap();

-- A capture lies within what its hold counts as captured, which is bounded by a CHECK.
create function refuse_capture_beyond_hold() returns trigger language plpgsql
set enable_seqscan = off as $$
declare
  beyond record;
begin
  select capture_id into beyond from inserted i
  where draw_offset + amount > coalesce((
    select h.captured from hold h
    where h.slot = i.slot and h.book_id = i.book_id and h.hold_id = i.hold_id), 0)
  limit 1;
  if found then
    raise exception 'capture % exceeds its hold', beyond.capture_id
      using errcode = 'restrict_violation', constraint = tg_name, table = tg_table_name;
  end if;
  return null;
end
$$;
create trigger capture_within_hold after insert on capture
  referencing new table as inserted for each statement execute function refuse_capture_beyond_hold();

create trigger book_never_goes_back after update on book for each row
  when (new.version < old.version or new.event_seq < old.event_seq
        or new.recorded_at < old.recorded_at)
  execute function refuse_step();
create trigger hold_counts_up after update on hold for each row
  when (new.captured < old.captured or new.released < old.released or new.reversed < old.reversed)
  execute function refuse_step();
create trigger capture_counts_up after update on capture for each row
  when (new.reversed < old.reversed) execute function refuse_step();
create trigger spender_stays_revoked after update on spender for each row
  when (old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at)
  execute function refuse_step();
