//! Whether the ledger came out of a backup, and nobody has said yet that it is in order.
//!
//! What happened after a backup was taken is missing in what is restored from it: payments were
//! settled that it does not know, and credits were spent that it still has. So nothing moves until
//! that is made up for. The engine asks in every batch's transaction, after the locks, so that it
//! holds for every process on the database.
//!
//! A table `restoration_pending` exists from before a backup is restored until its row stands in
//! `restoration`: a restore that is cut off in between opens nothing.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

/// Whether nothing may move: the ledger was restored, and that is not confirmed.
pub async fn is_restored(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select to_regclass('public.restoration_pending') is not null
             or exists (select from restoration r where not exists (
                  select from restoration_confirmed c
                  where c.restoration_id = r.restoration_id)) as "restored!""#
    )
    .fetch_one(pool)
    .await
}

/// What is in a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub books: i64,
    pub transfers: i64,
    /// The newest time that anything was recorded at.
    pub as_of: DateTime<Utc>,
}

/// Counts what is in a ledger, in the caller's snapshot.
pub async fn contents(connection: &mut PgConnection) -> Result<Contents, sqlx::Error> {
    sqlx::query_as!(
        Contents,
        r#"select (select count(*) from book) as "books!",
                  (select count(*) from transfer) as "transfers!",
                  (select max(recorded_at) from book) as "as_of!""#
    )
    .fetch_one(connection)
    .await
}

/// Says, as the owner of an empty database, that a ledger is being restored into it.
pub async fn begin_restore(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "create table if not exists public.restoration_pending ()";
    sqlx::raw_sql(sql).execute(owner).await.map(drop)
}

/// Takes that back: nothing was restored.
pub async fn abandon_restore(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "drop table if exists public.restoration_pending";
    sqlx::raw_sql(sql).execute(owner).await.map(drop)
}

/// Writes down, as the owner, that the ledger has been restored: from here on it stays closed until
/// that is confirmed.
pub async fn finish_restore(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut tx = owner.begin().await?;
    sqlx::query!(
        "insert into restoration (restoration_id, restored_at, backup_as_of)
         select gen_random_uuid(), clock_timestamp(), max(recorded_at) from book"
    )
    .execute(&mut *tx)
    .await?;
    abandon_restore(&mut tx).await?;
    tx.commit().await
}

/// A restoration that nobody has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoration {
    pub id: Uuid,
    pub restored_at: DateTime<Utc>,
    pub backup_as_of: DateTime<Utc>,
}

/// The restorations that are not confirmed, oldest first. There is more than one where a backup was
/// taken of a ledger that was itself restored and not confirmed.
pub async fn unconfirmed(connection: &mut PgConnection) -> Result<Vec<Restoration>, sqlx::Error> {
    sqlx::query_as!(
        Restoration,
        "select restoration_id as id, restored_at, backup_as_of from restoration r
         where not exists (
           select from restoration_confirmed c where c.restoration_id = r.restoration_id)
         order by restored_at"
    )
    .fetch_all(connection)
    .await
}

/// How it is known that a restored ledger is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmedHow {
    /// The operator says so.
    Operator,
    /// Everything that was paid since the backup has been read from the chain.
    Chain,
}

/// Confirms a restoration, as the owner. Doing it again changes nothing.
pub async fn confirm_restoration(
    owner: &mut PgConnection,
    restoration: Uuid,
    by: &str,
    how: ConfirmedHow,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let how = match how {
        ConfirmedHow::Operator => "operator",
        ConfirmedHow::Chain => "chain",
    };
    sqlx::query!(
        "insert into restoration_confirmed (restoration_id, confirmed_at, confirmed_by, how, reason)
         values ($1, clock_timestamp(), format('%s (as %s)', $2::text, session_user), $3, $4)
         on conflict do nothing",
        restoration,
        by,
        how,
        reason
    )
    .execute(owner)
    .await?;
    Ok(())
}
