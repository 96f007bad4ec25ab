-- What every floor stands on: which deployment this database is, the role the service runs as,
-- the guard of append-only tables, and claims on things that must be unique across books.

-- The service connects as a member of bursar_service. It owns nothing. The role may exist already,
-- or be made by another database of the same cluster at this very moment.
do $$
begin
  create role bursar_service nologin;
exception when duplicate_object or unique_violation then
  null;
end
$$;
grant usage on schema public to bursar_service;

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end
$$;

-- Makes a table append-only for everyone, its owner included.
create procedure make_append_only(target regclass) language plpgsql as $$
begin
  execute format('create trigger append_only_row before update or delete on %s '
                 'for each row execute function refuse_change()', target);
  execute format('create trigger append_only_table before truncate on %s '
                 'for each statement execute function refuse_change()', target);
end
$$;

-- One row: the mode this database belongs to. A process of the other mode refuses it.
create table deployment (
  one        boolean     not null default true primary key check (one),
  mode       text        not null check (mode in ('test', 'live')),
  created_at timestamptz not null default now()
);
grant select on deployment to bursar_service;
call make_append_only('deployment');

-- Global claims: payment identity, client payment key, wallet, API key hash. The key is a SHA-256
-- over a domain tag and the value; the slot is its last byte, so that a claim finds its shard alone.
-- Insert-only, committed in its own transaction before the engine sees the command.
create table claim (
  slot       smallint    not null,
  key        bytea       not null,
  kind       text        not null check (kind in ('payment', 'payment_key', 'wallet', 'api_key')),
  book_id    uuid        not null,
  subject_id uuid        not null,
  created_at timestamptz not null,
  primary key (slot, key),
  constraint claim_key_is_sha256 check (length(key) = 32 and slot = get_byte(key, 31))
);
grant select, insert on claim to bursar_service;
call make_append_only('claim');

-- For row triggers whose WHEN clause names a step that is never taken. They run after the change, so
-- that they lock nothing, and cost one expression where the step is a good one.
create function refuse_step() returns trigger language plpgsql as $$
begin
  raise exception '% refuses this change', tg_name
    using errcode = 'restrict_violation', constraint = tg_name, table = tg_table_name;
end
$$;
