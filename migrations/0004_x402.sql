-- Money in: top-ups, and the sandbox facilitator's own chain of test dollars.

create table topup (
  slot            smallint    not null,
  book_id         uuid        not null,
  topup_id        uuid        not null,
  state           text        not null check (state in
                    ('claimed', 'refused', 'settling', 'settled', 'credited', 'rejected', 'unknown',
                     'parked')),
  amount          bigint      not null check (amount > 0),
  x402_version    smallint    not null check (x402_version in (1, 2)),
  network         text        not null,  -- CAIP-2
  asset           text        not null,  -- lower case
  payer           text        not null,  -- lower case
  nonce           text        not null,  -- lower case
  pay_to          text        not null,  -- lower case
  valid_before    bigint      not null,  -- seconds since the epoch
  facilitator_url text        not null,  -- the one that it goes to, or 'sandbox'
  asked_version   smallint    check (asked_version in (1, 2)),  -- null: the payment's own
  payload         jsonb       not null,  -- as decoded from the header: /settle must be repeatable
  requirements    jsonb       not null,  -- ours, as sent to the facilitator, in asked_version
  keyed           boolean     not null,  -- whether an API key named the account
  -- Counts who has worked on it; nobody writes on top of a later one. Commits before bytes are sent.
  attempt         integer     not null default 0,
  -- When the first /settle was about to be sent; null while no byte of one has left.
  sent_at         timestamptz,
  -- When it is due: for whoever works on it the end of the lease, else when it is looked at next.
  next_at         timestamptz default now(),
  -- Another payment under its idempotency key, which took its place because this one was never sent.
  superseded_by   uuid,
  -- Rejected after it was sent, and the account has not been told by an event yet.
  untold          boolean     not null default false,
  settlement_tx   text,
  reason          text,
  created_at      timestamptz not null,
  updated_at      timestamptz not null,
  credited_at     timestamptz,
  primary key (slot, book_id, topup_id),
  constraint topup_id_key unique (slot, topup_id),
  constraint topup_payment_key unique (slot, book_id, network, asset, payer, nonce),
  constraint topup_credited_has_settlement check
    (state not in ('settled', 'credited') or settlement_tx is not null),
  constraint topup_sent_is_known check
    (case state when 'settling' then sent_at is not null
                when 'claimed' then sent_at is null
                when 'refused' then sent_at is null else true end),
  constraint topup_open_is_due check
    (next_at is not null or state not in ('claimed', 'settling', 'settled', 'unknown', 'parked'))
) with (fillfactor = 70);
create index topup_due on topup (next_at) where next_at is not null;
create index topup_untold on topup (updated_at) where untold and state = 'rejected';
create index topup_open on topup (created_at)
  where state in ('claimed', 'settling', 'settled', 'unknown', 'parked');
-- What an account has paid for and waits for.
create index topup_pending on topup (slot, book_id)
  where state in ('settling', 'settled', 'unknown', 'parked');
create index topup_settlement on topup (settlement_tx) where settlement_tx is not null;
grant select on topup to bursar_service;
-- A top-up begins without a settlement and without a credit.
grant insert (slot, book_id, topup_id, state, amount, x402_version, network, asset, payer, nonce,
              pay_to, valid_before, facilitator_url, asked_version, payload, requirements, keyed,
              next_at, created_at, updated_at) on topup to bursar_service;
grant update (state, attempt, sent_at, next_at, superseded_by, settlement_tx, reason, updated_at,
              credited_at, facilitator_url, asked_version, requirements, payload, x402_version,
              untold)
  on topup to bursar_service;

-- What the facilitator and the chain said, and what was decided from it. Never the signature.
create table topup_event (
  slot        smallint    not null,
  topup_id    uuid        not null,
  event_id    uuid        not null,
  recorded_at timestamptz not null,
  kind        text        not null,
  detail      jsonb       not null,
  primary key (slot, topup_id, event_id)
);
grant select, insert on topup_event to bursar_service;
call make_append_only('topup_event');

-- What the chain showed of settlements: a row for each block that one was seen in. The first is
-- written with the credit.
create table sighting (
  slot          smallint    not null,
  book_id       uuid        not null,
  topup_id      uuid        not null,
  nth           integer     not null check (nth > 0),
  settlement_tx text        not null,
  block_number  bigint      not null check (block_number >= 0),
  block_hash    text        not null,
  block_time    timestamptz,
  log_index     bigint      not null check (log_index >= 0),  -- of the transfer
  amount        bigint      not null check (amount > 0),
  payer         text        not null,  -- lower case
  seen_at       timestamptz not null,
  primary key (slot, book_id, topup_id, nth)
);
grant select, insert on sighting to bursar_service;
call make_append_only('sighting');

-- How each settlement that the chain showed stands there, until it is deep enough. The evidence is
-- the sighting of the number `sightings`. look_at is when it is looked at next; whoever does so
-- moves it on first, which is the lease.
create table settlement (
  slot          smallint    not null,
  book_id       uuid        not null,
  topup_id      uuid        not null,
  standing      text        not null default 'seen' check (standing in
                  ('seen', 'missing', 'confirmed', 'void', 'returned', 'reinstated', 'lost')),
  sightings     integer     not null default 1 check (sightings > 0),
  missing_since bigint,                -- the head at which it was missed
  head          bigint      not null,  -- the highest block up to which it was looked at
  look_at       timestamptz not null,
  updated_at    timestamptz not null,
  primary key (slot, book_id, topup_id),
  constraint settlement_missing_since check (missing_since is not null or standing in
    ('seen', 'confirmed', 'returned', 'reinstated'))
) with (fillfactor = 70);
create index settlement_due on settlement (look_at)
  where standing in ('seen', 'missing', 'void', 'returned');
create index settlement_doubtful on settlement (standing)
  where standing in ('missing', 'void', 'returned', 'reinstated', 'lost');
grant select on settlement to bursar_service;
-- It begins as seen.
grant insert (slot, book_id, topup_id, head, look_at, updated_at) on settlement to bursar_service;
grant update (standing, sightings, missing_since, head, look_at, updated_at) on settlement
  to bursar_service;
create trigger settlement_end_is_final after update on settlement for each row
  when (old.standing in ('confirmed', 'reinstated', 'lost')) execute function refuse_step();

-- The sandbox facilitator: balances of test wallets and used authorizations (test mode only).
create table sandbox_wallet (
  network text   not null,
  asset   text   not null,
  address text   not null,
  balance bigint not null,
  primary key (network, asset, address),
  constraint sandbox_wallet_not_negative check (balance >= 0)
);
grant select, insert on sandbox_wallet to bursar_service;
grant update (balance) on sandbox_wallet to bursar_service;

create table sandbox_settlement (
  network     text        not null,
  asset       text        not null,
  payer       text        not null,
  nonce       text        not null,
  pay_to      text        not null,
  amount      bigint      not null,
  digest      bytea       not null,  -- of the signed authorization: an identical repeat is answered alike
  transaction text        not null unique,
  settled_at  timestamptz not null,
  primary key (network, asset, payer, nonce)
);
grant select, insert on sandbox_settlement to bursar_service;
call make_append_only('sandbox_settlement');

-- Faults that a developer has asked for, each for one payment of one wallet.
create table sandbox_fault (
  fault_id   uuid        not null primary key,
  network    text        not null,
  address    text        not null,
  kind       text        not null check (kind in ('pending', 'lost', 'refused', 'slow')),
  seconds    integer     not null check (seconds between 1 and 120),
  armed_at   timestamptz not null,
  dropped_at timestamptz,
  nonce      text,  -- the payment that met it; none while it waits for one
  met_at     timestamptz,
  constraint sandbox_fault_met check ((nonce is null) = (met_at is null))
);
create index sandbox_fault_waiting on sandbox_fault (network, address, armed_at, fault_id)
  where nonce is null and dropped_at is null;
create unique index sandbox_fault_payment on sandbox_fault (network, address, nonce)
  where nonce is not null;
grant select, insert on sandbox_fault to bursar_service;
grant update (dropped_at, nonce, met_at) on sandbox_fault to bursar_service;

-- A payment that may have been sent goes to no other facilitator, and as it went.
create trigger topup_facilitator_is_final after update on topup for each row
  when (old.state not in ('claimed', 'refused') and
        (new.facilitator_url, new.asked_version, new.requirements, new.payload, new.x402_version)
          is distinct from (old.facilitator_url, old.asked_version, old.requirements, old.payload,
                            old.x402_version))
  execute function refuse_step();

-- What is credited stays; what is rejected stays, unless the chain proves that it was paid.
create trigger topup_outcome_is_final after update on topup for each row
  when (old.state = 'credited'
        or (old.state = 'rejected' and new.state <> 'settled'
            and (new.state, new.reason, new.settlement_tx, new.sent_at)
                is distinct from (old.state, old.reason, old.settlement_tx, old.sent_at)))
  execute function refuse_step();
create trigger topup_stays_superseded after update on topup for each row
  when (old.superseded_by is not null
        and (new.superseded_by is distinct from old.superseded_by or new.state = 'claimed'))
  execute function refuse_step();
