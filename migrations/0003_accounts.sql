-- Who may spend: accounts, API keys, wallet sign-in, and the budgets of free signups.

create table account (
  slot       smallint    not null,
  book_id    uuid        not null,
  origin     text        not null check (origin in ('signup', 'wallet')),
  wallet     text,       -- lower-case address of the paying wallet, of a wallet account
  created_at timestamptz not null,
  primary key (slot, book_id)
);
grant select, insert on account to bursar_service;

-- Keys are stored as a claim on their SHA-256; this row says what the key may do. Staff keys live in
-- the house book.
create table api_key (
  slot       smallint    not null,
  book_id    uuid        not null,
  key_id     uuid        not null,
  role       text        not null check (role in ('customer', 'fulfiller', 'verifier', 'operator')),
  name       text        not null,
  hint       text        not null,  -- the first characters, enough to recognise it
  skus       text[],                -- the SKUs a fulfiller or verifier serves, or a customer key may buy
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (slot, book_id, key_id)
);
grant select on api_key to bursar_service;
grant insert (slot, book_id, key_id, role, name, hint, skus, created_at, expires_at)
  on api_key to bursar_service;
grant update (revoked_at) on api_key to bursar_service;

-- Promotional credits as they were given, each for ever. One that is for later waits here until it is
-- due: no lot exists before, and whoever spends meets only lots. Its terms never change, and it is
-- credited once, or canceled before.
create table credit_grant (
  slot         smallint    not null,
  book_id      uuid        not null,
  grant_id     uuid        not null,
  amount       bigint      not null check (amount > 0),
  priority     smallint    not null check (priority between 0 and 100),
  effective_at timestamptz not null,
  expires_at   timestamptz not null,
  reason       text        not null check (reason <> ''),
  granted_by   uuid        not null,  -- the operator's key; of a signup the key that came with it
  granted_at   timestamptz not null,
  credited_at  timestamptz,
  lot_id       uuid,                  -- that it became
  canceled_at  timestamptz,
  canceled_by  uuid,                  -- the operator's key
  primary key (slot, book_id, grant_id),
  constraint credit_grant_expires_after_effect check (expires_at > effective_at),
  constraint credit_grant_has_lot check ((credited_at is null) = (lot_id is null)),
  constraint credit_grant_not_before_effect check (credited_at >= effective_at),
  constraint credit_grant_canceled_by_key check ((canceled_at is null) = (canceled_by is null)),
  constraint credit_grant_one_outcome check (credited_at is null or canceled_at is null)
);
create index credit_grant_id on credit_grant (grant_id);
create index credit_grant_waiting on credit_grant (slot, book_id, grant_id)
  where credited_at is null and canceled_at is null;
create index credit_grant_scheduled on credit_grant (grant_id)
  where credited_at is null and canceled_at is null;
create index credit_grant_due on credit_grant (effective_at, grant_id)
  where credited_at is null and canceled_at is null;
grant select, insert on credit_grant to bursar_service;
grant update (credited_at, lot_id, canceled_at, canceled_by) on credit_grant to bursar_service;
create trigger credit_grant_outcome_is_final after update on credit_grant for each row
  when (old.credited_at is not null or old.canceled_at is not null) execute function refuse_step();

-- Counted budgets: signups per address and hour, promotional grants per day (micro-dollars).
create table budget (
  name         text        not null,
  window_start timestamptz not null,
  used         bigint      not null check (used >= 0),
  primary key (name, window_start)
);
grant select, insert, delete on budget to bursar_service;
grant update (used) on budget to bursar_service;

-- Nonces of sign-in-with-x, each good for one proof.
create table wallet_challenge (
  nonce      text        not null primary key,
  issued_at  timestamptz not null,
  expires_at timestamptz not null,
  used_at    timestamptz
);
grant select, delete on wallet_challenge to bursar_service;
grant insert (nonce, issued_at, expires_at) on wallet_challenge to bursar_service;
grant update (used_at) on wallet_challenge to bursar_service;

create trigger api_key_stays_revoked after update on api_key for each row
  when (old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at)
  execute function refuse_step();
create trigger wallet_challenge_used_once after update on wallet_challenge for each row
  when (old.used_at is not null) execute function refuse_step();
