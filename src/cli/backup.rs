//! `bursar backup` and `bursar restore`.

use std::path::Path;
use std::process::ExitCode;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::config::{Basics, DatabaseSettings, Need};
use crate::db::dump::{self, Tools};
use crate::db::managed::{Surroundings, effective_uid};
use crate::db::{self, SchemaError};
use crate::ground::Mode;
use crate::ledger::{self, ConfirmedHow, Contents, Restoration};
use crate::telemetry;

use super::Failure;
use super::database::{self, Database, Missing};
use super::output::print;

/// Writes a backup of the ledger as it is at this moment; a running service goes on.
pub(super) async fn backup(file: &Path) -> Result<ExitCode, Failure> {
    let basics = basics()?;
    let database = database::join(&basics.database).await?;
    let made = dump_to(file, &basics, &database.owner).await;
    close(database).await?;
    let (contents, mode) = made?;
    let words = format!(
        "Backed up to {} and read back whole ({mode} mode):\n{}\n",
        file.display(),
        described(&contents)
    );
    print(words.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn dump_to(
    file: &Path,
    basics: &Basics,
    owner: &PgConnectOptions,
) -> Result<(Contents, Mode), Failure> {
    let mut connection = PgConnection::connect_with(owner).await?;
    let tools = tools(&basics.database, &connection).await?;
    // What is counted and what is dumped is one and the same state.
    let mut snapshot =
        connection.begin_with("begin isolation level repeatable read read only").await?;
    let stamped = db::stamped_mode(&mut snapshot).await?;
    if stamped != basics.mode {
        let mismatch = SchemaError::ModeMismatch { database: stamped, process: basics.mode };
        return Err(mismatch.into());
    }
    let contents = ledger::contents(&mut snapshot).await?;
    let name = dump::export_snapshot(&mut snapshot).await?;
    dump::write(&tools, owner, &name, file).await?;
    snapshot.rollback().await?;
    connection.close().await?;
    Ok((contents, stamped))
}

/// Restores a backup into an empty database. The ledger is then closed until that is confirmed.
pub(super) async fn restore(file: &Path) -> Result<ExitCode, Failure> {
    let basics = basics()?;
    if !file.is_file() {
        return Err(format!("there is no file {}", file.display()).into());
    }
    let database = database::connect(&basics.database, Missing::Refuse).await?;
    let loaded = load_from(file, &basics, &database.owner).await;
    close(database).await?;
    let words = format!(
        "Restored from {} ({} mode):\n{}\n\n\
         The ledger takes no payments and lets nothing be spent until it is known what has happened \
         since the backup. To end that, one of:\n\
         \x20 bursar restore --read-chain\n\
         \x20 bursar restore --confirm --reason TEXT\n",
        file.display(),
        basics.mode,
        described(&loaded?)
    );
    print(words.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn load_from(
    file: &Path,
    basics: &Basics,
    owner: &PgConnectOptions,
) -> Result<Contents, Failure> {
    let mut connection = PgConnection::connect_with(owner).await?;
    if !db::is_empty(&mut connection).await? {
        return Err("the database is not empty, and a backup is restored only into an empty one; \
                    nothing was changed. Make another database and name it in BURSAR_MIGRATION_URL, \
                    or set BURSAR_DATA_DIR to another directory"
            .into());
    }
    let tools = tools(&basics.database, &connection).await?;
    dump::verify(&tools, file).await?;
    let deployment = dump::first_row(&tools, file, "deployment").await?;
    let mode = deployment.iter().find(|(name, _)| name == "mode").map(|(_, mode)| mode.parse());
    match mode {
        Some(Ok(mode)) if mode == basics.mode => {}
        Some(Ok(database)) => {
            return Err(SchemaError::ModeMismatch { database, process: basics.mode }.into());
        }
        Some(Err(_)) | None => return Err("the backup does not say which mode it is of".into()),
    }
    db::ensure_service_role(&mut connection).await?;
    ledger::begin_restore(&mut connection).await?;
    if let Err(error) = dump::load(&tools, file, owner).await {
        ledger::abandon_restore(&mut connection).await?;
        return Err(error.into());
    }
    ledger::finish_restore(&mut connection).await?;
    let contents = ledger::contents(&mut connection).await?;
    connection.close().await?;
    Ok(contents)
}

/// Confirms, by the operator's word, that a restored ledger is in order.
pub(super) async fn confirm(reason: &str) -> Result<ExitCode, Failure> {
    let basics = basics()?;
    let database = database::join(&basics.database).await?;
    let confirmed = confirm_all(&database.owner, ConfirmedHow::Operator, reason).await;
    close(database).await?;
    let words = match confirmed?.as_slice() {
        [] => "There is nothing to confirm: the ledger is open.\n".to_owned(),
        [.., last] => format!(
            "Confirmed. The ledger is open; its backup was of {}.\n",
            last.backup_as_of.to_rfc3339()
        ),
    };
    print(words.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Confirms every open restoration and returns them.
pub(super) async fn confirm_all(
    owner: &PgConnectOptions,
    how: ConfirmedHow,
    reason: &str,
) -> Result<Vec<Restoration>, Failure> {
    let mut connection = PgConnection::connect_with(owner).await?;
    if !db::is_whole(&mut connection).await? {
        return Err(
            "a restore was cut off before its end; make the database anew and restore again".into(),
        );
    }
    let by = format!("user id {}", effective_uid()?);
    let open = ledger::unconfirmed(&mut connection).await?;
    for restoration in &open {
        ledger::confirm_restoration(&mut connection, restoration.id, &by, how, reason).await?;
    }
    connection.close().await?;
    Ok(open)
}

fn basics() -> Result<Basics, Failure> {
    let basics = Basics::from_env(Need::Owner)?;
    telemetry::init(&basics.log.quiet())?;
    Ok(basics)
}

async fn tools(settings: &DatabaseSettings, server: &PgConnection) -> Result<Tools, Failure> {
    let surroundings = Surroundings {
        path: settings.search_path.clone(),
        home: settings.home.clone(),
        explicit_bin: settings.pg_bin.clone(),
    };
    let version = server.server_version_num().unwrap_or_default();
    let major = version.checked_div(10_000).unwrap_or_default();
    Ok(Tools::find(&surroundings, major).await?)
}

async fn close(database: Database) -> Result<(), Failure> {
    if let Some(managed) = database.managed {
        managed.stop().await?;
    }
    Ok(())
}

fn described(contents: &Contents) -> String {
    let Contents { books, transfers, as_of } = contents;
    format!("  books      {books}\n  transfers  {transfers}\n  as of      {}", as_of.to_rfc3339())
}
