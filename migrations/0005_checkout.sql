-- Money out: the catalogue, checkouts, results, charges, disputes and reversals.

-- Whoever is called for verdicts, and how its calls have gone. Nothing of it is money.
create table verifier (
  verifier_id     uuid        not null primary key,
  url             text        not null,
  secret          bytea,                -- sealed, and bound to verifier_id; null when its key is lost
  previous_secret bytea,                -- signs too for a while after a rotation
  previous_until  timestamptz,
  created_at      timestamptz not null,
  failures        integer     not null default 0 check (failures >= 0), -- calls in a row that failed
  rest_until      timestamptz,          -- until then it is not called: the circuit is open
  constraint verifier_one_per_url unique (url),
  constraint verifier_previous_ends check ((previous_secret is null) = (previous_until is null))
);
grant select on verifier to bursar_service;
grant insert (verifier_id, url, secret, created_at) on verifier to bursar_service;
grant update (secret, previous_secret, previous_until, failures, rest_until)
  on verifier to bursar_service;

-- The terms of every SKU, each version for ever: what an item was sold under is found here.
create table sku_version (
  sku                     text        not null,
  version                 integer     not null check (version > 0),
  title                   text        not null,
  unit                    text        not null,
  unit_price              bigint      not null check (unit_price > 0),
  criteria                jsonb       not null,
  verification            text        not null check (verification in ('push', 'http')),
  verifier_id             uuid        references verifier,
  delivery_deadline_s     integer     not null check (delivery_deadline_s > 0),
  verification_deadline_s integer     not null check (verification_deadline_s > 0),
  dispute_window_s        integer     not null check (dispute_window_s >= 0),
  dispute_decision_s      integer     not null check (dispute_decision_s >= 3600),
  active                  boolean     not null,
  updated_at              timestamptz not null,
  primary key (sku, version),
  constraint sku_version_http_has_verifier check ((verification = 'http') = (verifier_id is not null))
);
grant select, insert on sku_version to bursar_service;
call make_append_only('sku_version');

-- The version that is sold now: the one row of a SKU that a batch reads.
create table sku (
  sku                     text        not null primary key,
  title                   text        not null,
  unit                    text        not null,
  unit_price              bigint      not null check (unit_price > 0),
  criteria                jsonb       not null,
  verification            text        not null check (verification in ('push', 'http')),
  verifier_id             uuid        references verifier,
  delivery_deadline_s     integer     not null check (delivery_deadline_s > 0),
  verification_deadline_s integer     not null check (verification_deadline_s > 0),
  dispute_window_s        integer     not null check (dispute_window_s >= 0),
  dispute_decision_s      integer     not null check (dispute_decision_s >= 3600),
  active                  boolean     not null,
  version                 integer     not null,
  updated_at              timestamptz not null,
  constraint sku_http_has_verifier check ((verification = 'http') = (verifier_id is not null))
);
grant select, insert on sku to bursar_service;
grant update (title, unit, unit_price, criteria, verification, verifier_id, delivery_deadline_s,
              verification_deadline_s, dispute_window_s, dispute_decision_s, active, version, updated_at)
  on sku to bursar_service;

-- Prices that hold for a while: what was asked for, on the terms of that moment. One that is accepted
-- names its checkout and stays; the others are forgotten some time after they ran out.
create table quote (
  slot        smallint    not null,
  book_id     uuid        not null,
  quote_id    uuid        not null,
  lines       jsonb       not null,
  created_at  timestamptz not null,
  expires_at  timestamptz not null,
  checkout_id uuid,
  primary key (slot, book_id, quote_id),
  constraint quote_one_per_checkout unique (slot, checkout_id)
) with (fillfactor = 80);
create index quote_open on quote (slot, book_id, expires_at) where checkout_id is null;
grant select, delete on quote to bursar_service;
-- A quote begins unaccepted.
grant insert (slot, book_id, quote_id, lines, created_at, expires_at) on quote to bursar_service;
grant update (checkout_id) on quote to bursar_service;

create table checkout (
  slot        smallint    not null,
  book_id     uuid        not null,
  checkout_id uuid        not null,
  key_id      uuid        not null,
  max_total   bigint      not null,
  total       bigint      not null,
  created_at  timestamptz not null,
  canceled_at timestamptz,
  primary key (slot, book_id, checkout_id),
  constraint checkout_id_key unique (slot, checkout_id),
  constraint checkout_within_max_total check (total > 0 and total <= max_total)
) with (fillfactor = 80);
grant select on checkout to bursar_service;
grant insert (slot, book_id, checkout_id, key_id, max_total, total, created_at)
  on checkout to bursar_service;
grant update (canceled_at) on checkout to bursar_service;

-- One item of a checkout; its id is its hold's id. Prices and deadlines are frozen here.
create table checkout_item (
  slot                    smallint    not null,
  book_id                 uuid        not null,
  checkout_id             uuid        not null,
  item                    smallint    not null,
  hold_id                 uuid        not null,
  sku                     text        not null,
  sku_version             integer     not null,
  quantity                bigint      not null check (quantity > 0),
  unit_price              bigint      not null check (unit_price > 0),
  submitted               bigint      not null default 0,
  settled                 bigint      not null default 0,  -- units captured or released
  deliver_by              timestamptz not null,
  verification_deadline_s integer     not null,
  dispute_window_s        integer     not null,
  dispute_decision_s      integer     not null,
  closed                  boolean     not null default false, -- nothing more may be submitted
  primary key (slot, checkout_id, item),
  constraint checkout_item_submitted_within_quantity check (submitted between 0 and quantity),
  constraint checkout_item_settled_within_quantity check (settled between 0 and quantity)
) with (fillfactor = 70);
create index checkout_item_due on checkout_item (deliver_by) where not closed;
grant select on checkout_item to bursar_service;
-- An item begins open, with nothing submitted.
grant insert (slot, book_id, checkout_id, item, hold_id, sku, sku_version, quantity, unit_price,
              deliver_by, verification_deadline_s, dispute_window_s, dispute_decision_s)
  on checkout_item to bursar_service;
grant update (submitted, settled, closed) on checkout_item to bursar_service;

create table result (
  slot          smallint    not null,
  book_id       uuid        not null,
  checkout_id   uuid        not null,
  result_id     text        not null,
  item          smallint    not null,
  quantity      bigint      not null check (quantity > 0),
  state         text        not null check (state in ('verifying', 'captured', 'released')),
  evidence      jsonb       not null,
  evidence_hash bytea       not null,
  submitted_by  uuid        not null,
  submitted_at  timestamptz not null,
  verify_by     timestamptz not null,
  accepted      bigint,
  verdict       jsonb,
  decided_at    timestamptz,
  charge_id     uuid,
  release_transaction_id uuid,  -- by which the part that was not accepted went back
  primary key (slot, book_id, checkout_id, result_id),
  constraint result_decided_once check ((state = 'verifying') = (decided_at is null)),
  constraint result_accepted_within_quantity check (accepted between 0 and quantity),
  constraint result_charge_when_captured check ((state = 'captured') = (charge_id is not null))
) with (fillfactor = 70);
-- In the order in which verifiers read them: many results have one deadline.
create index result_due on result (verify_by, checkout_id, result_id) where state = 'verifying';
grant select on result to bursar_service;
-- A result begins without an outcome.
grant insert (slot, book_id, checkout_id, result_id, item, quantity, state, evidence, evidence_hash,
              submitted_by, submitted_at, verify_by) on result to bursar_service;
grant update (state, accepted, verdict, decided_at, charge_id, release_transaction_id)
  on result to bursar_service;

-- Results that a verifier is to be asked about: written with the result, worked off by callers. A
-- caller claims one for a while by moving next_at, and then calls with no transaction open. Rows are
-- kept as long as their result, whose trail they are.
create table verification (
  slot        smallint    not null,
  book_id     uuid        not null,
  checkout_id uuid        not null,
  result_id   text        not null,
  verifier_id uuid        not null,
  queued_at   timestamptz not null,
  attempts    integer     not null default 0 check (attempts >= 0),
  -- Calls whose verdict the ledger did not take: they do not count against the verifier.
  waived      integer     not null default 0 check (waived >= 0),
  -- Calls that were begun before the verifier was given a new secret: they do not count either.
  forgiven    integer     not null default 0 check (forgiven >= 0),
  next_at     timestamptz,  -- null when there is nothing more to ask
  -- The verification deadline of a result that nobody will be asked about any more though it is open.
  given_up_until timestamptz,
  primary key (slot, book_id, checkout_id, result_id),
  constraint verification_not_counted_within_attempts check (waived + forgiven <= attempts),
  constraint verification_given_up_ends check (given_up_until is null or next_at is null)
) with (fillfactor = 70);
create index verification_due on verification (verifier_id, next_at) where next_at is not null;
create index verification_waiting on verification (queued_at) where next_at is not null;
create index verification_given_up on verification (given_up_until)
  where given_up_until is not null;
grant select on verification to bursar_service;
grant insert (slot, book_id, checkout_id, result_id, verifier_id, queued_at, next_at)
  on verification to bursar_service;
grant update (attempts, waived, forgiven, next_at, given_up_until) on verification to bursar_service;

-- Every call, as the result's trail has it. One that never ended was cut off with its process. A result
-- has at most twice as many as BURSAR_VERIFIER_ATTEMPTS says, so many that count and as many waived, and
-- as many again for each new secret that the verifier is given meanwhile.
-- They prove how a verdict came about and are kept as long as their result; nothing prunes them.
create table verification_call (
  slot        smallint    not null,
  book_id     uuid        not null,
  checkout_id uuid        not null,
  result_id   text        not null,
  attempt     integer     not null check (attempt > 0),
  called_at   timestamptz not null,
  ended_at    timestamptz,
  status      smallint,     -- the HTTP status of the answer
  fault       text,         -- why the call brought no verdict
  primary key (slot, book_id, checkout_id, result_id, attempt),
  constraint verification_call_ends check (ended_at is not null or (status is null and fault is null))
) with (fillfactor = 70);
grant select on verification_call to bursar_service;
grant insert (slot, book_id, checkout_id, result_id, attempt, called_at)
  on verification_call to bursar_service;
grant update (ended_at, status, fault) on verification_call to bursar_service;

-- An itemised charge; its id is its capture's id. One per result, by constraint.
create table charge (
  slot           smallint    not null,
  book_id        uuid        not null,
  charge_id      uuid        not null,
  checkout_id    uuid        not null,
  item           smallint    not null,
  result_id      text        not null,
  sku            text        not null,
  quantity       bigint      not null check (quantity > 0),
  unit_price     bigint      not null,
  amount         bigint      not null check (amount > 0),
  reversed       bigint      not null default 0,
  transaction_id uuid        not null,
  captured_at    timestamptz not null,
  final_at       timestamptz not null,
  primary key (slot, book_id, charge_id),
  constraint charge_id_key unique (slot, charge_id),
  constraint charge_one_per_result unique (slot, book_id, checkout_id, result_id),
  constraint charge_reversed_within_amount check (reversed between 0 and amount)
) with (fillfactor = 80);
grant select, insert on charge to bursar_service;
grant update (reversed) on charge to bursar_service;

-- A buyer's objection to a charge. Nothing moves by it; what is disputed is not final until it is
-- decided.
create table dispute (
  slot            smallint    not null,
  book_id         uuid        not null,
  dispute_id      uuid        not null,
  charge_id       uuid        not null,
  sku             text        not null, -- the charge's: whoever decides looks for its own
  amount          bigint      not null check (amount > 0),
  reason          text        not null,
  disputed_by     uuid        not null,
  disputed_at     timestamptz not null,
  decide_by       timestamptz not null,
  state           text        not null default 'open' check (state in ('open', 'upheld', 'denied')),
  decided_by      uuid,       -- nobody when its deadline decided it
  decided_at      timestamptz,
  decision_reason text,
  primary key (slot, book_id, dispute_id),
  constraint dispute_id_key unique (slot, dispute_id),
  constraint dispute_decided_once check ((state = 'open') = (decided_at is null)),
  constraint dispute_denied_by_somebody check (state <> 'denied' or decided_by is not null)
) with (fillfactor = 80);
create index dispute_of_charge on dispute (slot, book_id, charge_id);
create unique index dispute_one_open_per_charge on dispute (slot, book_id, charge_id)
  where state = 'open';
create index dispute_due on dispute (decide_by) where state = 'open';
create index dispute_undecided on dispute (dispute_id) where state = 'open';
create index dispute_undecided_of_sku on dispute (sku, dispute_id) where state = 'open';
grant select on dispute to bursar_service;
-- A dispute begins open.
grant insert (slot, book_id, dispute_id, charge_id, sku, amount, reason, disputed_by, disputed_at,
              decide_by) on dispute to bursar_service;
grant update (state, decided_by, decided_at, decision_reason) on dispute to bursar_service;

create table reversal (
  slot           smallint    not null,
  book_id        uuid        not null,
  charge_id      uuid        not null,
  reversal_id    uuid        not null,
  amount         bigint      not null check (amount > 0),
  reason         text        not null,
  transaction_id uuid        not null,
  reversed_by    uuid,       -- nobody when a deadline did it
  reversed_at    timestamptz not null,
  dispute_id     uuid,       -- the dispute that it upholds
  primary key (slot, book_id, charge_id, reversal_id),
  constraint reversal_one_per_dispute unique (slot, book_id, dispute_id),
  constraint reversal_by_somebody check (reversed_by is not null or dispute_id is not null)
);
grant select, insert on reversal to bursar_service;
call make_append_only('reversal');

-- What the constraints above cannot say, because it is about a row's past or about several rows.
create trigger quote_accepted_once after update or delete on quote for each row
  when (old.checkout_id is not null) execute function refuse_step();
create trigger checkout_canceled_once after update on checkout for each row
  when (old.canceled_at is not null and new.canceled_at is distinct from old.canceled_at)
  execute function refuse_step();
create trigger checkout_item_never_reopens after update on checkout_item for each row
  when (new.submitted < old.submitted or new.settled < old.settled
        or (old.closed and not new.closed))
  execute function refuse_step();
create trigger result_has_one_outcome after update on result for each row
  when (old.state <> 'verifying') execute function refuse_step();
create trigger verification_call_ends_once after update on verification_call for each row
  when (old.ended_at is not null) execute function refuse_step();
create trigger charge_counts_up after update on charge for each row
  when (new.reversed < old.reversed) execute function refuse_step();

create trigger dispute_has_one_outcome after update on dispute for each row
  when (old.state <> 'open') execute function refuse_step();

create function refuse_reversal_beyond_charge() returns trigger language plpgsql
set enable_seqscan = off as $$
declare
  beyond record;
begin
  select charge_id into beyond from inserted i
  where (select sum(r.amount) from reversal r
         where r.slot = i.slot and r.book_id = i.book_id and r.charge_id = i.charge_id)
      > coalesce((select c.amount from charge c
                  where c.slot = i.slot and c.book_id = i.book_id and c.charge_id = i.charge_id), 0)
  limit 1;
  if found then
    raise exception 'the reversals of charge % exceed it', beyond.charge_id
      using errcode = 'restrict_violation', constraint = tg_name, table = tg_table_name;
  end if;
  return null;
end
$$;
create trigger reversals_within_charge after insert on reversal
  referencing new table as inserted for each statement
  execute function refuse_reversal_beyond_charge();
