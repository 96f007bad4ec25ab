-- What the drift checker has proven so far. The checker alone writes here and reads here, money
-- never depends on it, and all of it may be deleted: the checker then begins again from nothing.

-- How far a book is proven, and what its transfers up to there add up to. Each book has up to two
-- walks: `head` follows what is booked, and `lap` is a large book's re-verification from its first
-- transfer while it is under way.
create table proof_book (
  slot        smallint    not null,
  book_id     uuid        not null,
  walk        text        not null check (walk in ('head', 'lap')),
  version     bigint      not null check (version >= 0),
  event_seq   bigint      not null check (event_seq >= 0),
  compared    bigint      not null,  -- the version at which the book's rows were last compared
  balances    bigint[]    not null,  -- by the number of the role
  promo_spent bigint      not null,  -- promotional credits captured and not reversed
  phase       smallint    not null default 0,  -- of a lap: the kind of rows that is looked through
  after_id    uuid,                  -- of a lap: the last of them that was looked at
  begun_at    timestamptz not null,
  primary key (slot, book_id, walk)
) with (fillfactor = 50);

-- What a lot's transfers say of it.
create table proof_lot (
  slot      smallint not null,
  book_id   uuid     not null,
  walk      text     not null,
  lot_id    uuid     not null,
  paid      boolean  not null,
  amount    bigint   not null,
  remaining bigint   not null,
  lost      bigint   not null,
  version   bigint   not null,  -- of the last transfer that touched it
  primary key (slot, book_id, walk, lot_id)
) with (fillfactor = 70);

-- What the holds that a spender placed on one UTC day have not given back.
create table proof_spent (
  slot       smallint not null,
  book_id    uuid     not null,
  walk       text     not null,
  spender_id uuid     not null,
  day        date     not null,
  spent      bigint   not null,
  primary key (slot, book_id, walk, spender_id, day)
) with (fillfactor = 70);

-- Rows that no transfer leads to, of the tables that nothing lists by book: a lap looks through those
-- first, and keeps here what the books' turns are to look at.
create table proof_stray (
  slot     smallint    not null,
  book_id  uuid        not null,
  kind     text        not null check (kind in ('hold', 'checkout_item')),
  id       uuid        not null,  -- of the hold, or of the item's checkout
  found_at timestamptz not null,
  primary key (slot, book_id, kind, id)
);

-- What was found, until the book has been verified again and it is gone. finding is the MD5 of the
-- subject.
create table proof_finding (
  slot       smallint    not null,
  book_id    uuid        not null,
  check_name text        not null,
  finding    uuid        not null,
  subject    text        not null,
  expected   numeric,
  found      numeric,
  found_at   timestamptz not null,
  primary key (slot, book_id, check_name, finding)
);

-- One row: where the checker stands in its rounds. Who steps holds it.
create table proof_cursor (
  one          boolean     not null default true primary key check (one),
  head_slot    smallint    not null,
  head_book    uuid        not null,
  lap_slot     smallint    not null,
  lap_book     uuid        not null,
  lap_begun_at timestamptz,  -- null between two laps
  lap_ended_at timestamptz,
  -- How far the lap has looked for strays, before it goes through the books; null when it is done.
  stray_kind   text        default 'hold' check (stray_kind in ('hold', 'checkout_item')),
  stray_slot   smallint    not null default -1,
  stray_id     uuid        not null default '00000000-0000-0000-0000-000000000000'
);
insert into proof_cursor (head_slot, head_book, lap_slot, lap_book)
values (-1, '00000000-0000-0000-0000-000000000000', -1, '00000000-0000-0000-0000-000000000000');

grant select, insert, update, delete on proof_book, proof_lot, proof_spent, proof_stray,
  proof_finding to bursar_service;
grant select, update on proof_cursor to bursar_service;
