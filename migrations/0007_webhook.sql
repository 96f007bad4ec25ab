-- Webhooks: where the events of a book are sent, and what became of each. The outbox is written with
-- the money; everything here is made from it afterwards, by workers, and nothing of it is money.

create table webhook (
  slot            smallint    not null,
  book_id         uuid        not null,
  webhook_id      uuid        not null,
  place           smallint    not null check (place between 1 and 16),  -- bounds how many there are
  url             text        not null,
  kinds           text[],               -- the events that are wanted; all when there is no list
  secret          bytea       not null, -- sealed, and bound to webhook_id
  previous_secret bytea,                -- signs too for a while after a rotation
  previous_until  timestamptz,
  created_at      timestamptz not null,
  spread_seq      bigint      not null, -- events up to this one have become deliveries
  replay_from     bigint,               -- of a replay under way: the first event, the next, and the last
  replay_seq      bigint,
  replay_until    bigint,
  crowded         boolean     not null default false,  -- so much waits that nothing more is queued
  next_at         timestamptz,          -- when there is something to send
  not_before      timestamptz not null, -- until then somebody is sending, or the address is given a rest
  leased_until    timestamptz,          -- while somebody is sending
  failures        integer     not null default 0,
  disabled_at     timestamptz,
  low_balance     bigint check (low_balance > 0),  -- below this the account is told, once per crossing
  primary key (slot, book_id, webhook_id),
  constraint webhook_one_per_place unique (slot, book_id, place),
  constraint webhook_previous_ends check ((previous_secret is null) = (previous_until is null)),
  constraint webhook_replay_ends check
    ((replay_seq is null) = (replay_until is null) and (replay_seq is null) = (replay_from is null))
) with (fillfactor = 70);
create index webhook_due on webhook (next_at) where disabled_at is null and next_at is not null;
create index webhook_previous on webhook (previous_until) where previous_until is not null;
create index webhook_low_balance on webhook (slot, book_id, webhook_id)
  where low_balance is not null and disabled_at is null;
grant select, insert, delete on webhook to bursar_service;
grant update (secret, previous_secret, previous_until, spread_seq, replay_from, replay_seq,
              replay_until, crowded, next_at, not_before, leased_until, failures, disabled_at)
  on webhook to bursar_service;

-- What has been told of a webhook's threshold. It is a row of its own because the ledger writes it, and
-- must not wait for whoever works on the webhook.
create table webhook_low (
  slot       smallint not null,
  book_id    uuid     not null,
  webhook_id uuid     not null,
  told       boolean  not null,  -- that the balance is low, and not since that it is not any more
  times      integer  not null,
  primary key (slot, book_id, webhook_id)
);
grant select, insert, delete on webhook_low to bursar_service;
grant update (told, times) on webhook_low to bursar_service;

-- Webhooks that were deleted or disabled, and whose deliveries are not all cleared yet.
create table webhook_ended (
  slot       smallint    not null,
  book_id    uuid        not null,
  webhook_id uuid        not null,
  ended_at   timestamptz not null,
  primary key (slot, book_id, webhook_id)
);
grant select, insert, delete on webhook_ended to bursar_service;
grant update (ended_at) on webhook_ended to bursar_service;

-- One event for one webhook. A replay makes it pending again.
create table webhook_delivery (
  slot        smallint    not null,
  book_id     uuid        not null,
  webhook_id  uuid        not null,
  seq         bigint      not null,  -- the event in the outbox
  state       text        not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
  attempts    integer     not null default 0 check (attempts >= 0),
  queued_at   timestamptz not null,
  next_at     timestamptz,
  last_status smallint,              -- the HTTP status of the last answer
  last_error  text check (length(last_error) <= 16),  -- why there was none, in one of a few words
  ended_at    timestamptz,
  primary key (slot, book_id, webhook_id, seq),
  constraint webhook_delivery_ends check
    ((state = 'pending') = (next_at is not null) and (state = 'pending') = (ended_at is null))
) with (fillfactor = 70);
create index webhook_delivery_due on webhook_delivery (slot, book_id, webhook_id, next_at, seq)
  where state = 'pending';
create index webhook_delivery_pending on webhook_delivery (queued_at) where state = 'pending';
create index webhook_delivery_dead on webhook_delivery (slot, book_id, webhook_id, seq)
  where state = 'dead';
create index webhook_delivery_ended on webhook_delivery (ended_at) where ended_at is not null;
grant select, insert, delete on webhook_delivery to bursar_service;
grant update (state, attempts, queued_at, next_at, last_status, last_error, ended_at)
  on webhook_delivery to bursar_service;
