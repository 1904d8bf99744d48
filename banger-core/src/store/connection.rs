//! Opening the database: pragmas, version checks, migrations.

use std::{fs::File, io::Read as _, time::Duration};

use camino::Utf8Path;
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Connections, Store, StoreError};
use crate::{
    directories::Directories,
    host_fs::{FileLock, create_directory, lock_deadline},
};

/// The migrations, in order; their files are never edited once shipped.
pub(super) static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Older ones can corrupt a database when the write-ahead log is reset
/// (sqlite.org, "WAL-reset bug", fixed in this version).
const OLDEST_SAFE_SQLITE: &str = "3.51.3";

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages of the write-ahead log (4 KiB each) after which a commit copies them
/// into the database. Whoever opens the database while nobody else has it open
/// reads the log first; SQLite's own limit is 1000.
const LOG_PAGES: &str = "128";

pub(super) async fn open(
    directories: &Directories,
    connections: Connections,
) -> Result<Store, StoreError> {
    create_directory(&directories.state).map_err(StoreError::Io)?;
    let path = directories.database();
    // SQLite does not wait for its turn to start a write-ahead log: it fails
    let mut lock = None;
    if !has_write_ahead_log(&path) {
        lock = Some(schema_lock(directories).await?);
    }
    let mut store = connect(&path, connections).await?;
    if schema_version(&store.reader, &path).await? < newest_known() {
        if lock.is_none() {
            lock = Some(schema_lock(directories).await?);
        }
        migrate(&store.writer, &path).await?;
        // it knows the schema from before
        store.reader.close().await;
        store = connect(&path, connections).await?;
    }
    drop(lock);
    Ok(store)
}

/// The lock of whoever makes the database or changes its schema.
async fn schema_lock(directories: &Directories) -> Result<FileLock, StoreError> {
    let lock = FileLock::acquire(&directories.locks().join("schema.lock"), lock_deadline()).await;
    lock.map_err(StoreError::Lock)
}

/// Whether a database's header says that it has a write-ahead log
/// (sqlite.org, "Database File Format", 1.3.3).
fn has_write_ahead_log(path: &Utf8Path) -> bool {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[18..] == [2, 2]
}

/// Connects what reads, which makes the file if there is none.
async fn connect(path: &Utf8Path, connections: Connections) -> Result<Store, StoreError> {
    let reader = pool().connect_with(options(path)).await;
    let reader = reader.map_err(|source| StoreError::Open {
        path: path.to_owned(),
        source: source.into(),
    })?;
    let writer = match connections {
        Connections::Shared => reader.clone(),
        // most programs only read: it is connected when it is needed
        Connections::Apart => pool().connect_lazy_with(options(path)),
    };
    Ok(Store { reader, writer })
}

/// A connection that stays. Each has a thread and a cache of its own: opening
/// one takes longer than many reads. A file cannot go away as a server does: there is
/// nothing to test.
///
/// No connection is ever too old: without limits sqlx starts no task that looks
/// for such. That task counts the idle ones while others take and return them,
/// may read a count below zero, which is one of 2^64, and then spins for as long
/// as the process lives, and keeps its runtime from ending.
fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// What every connection has alike. `FULL` makes a record durable before the
/// files it names are handed out or removed.
fn options(path: &Utf8Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", LOG_PAGES)
}

/// The newest applied migration, 0 for an empty database; refuses one that
/// this program does not know, and a library that is too old.
async fn schema_version(pool: &SqlitePool, path: &Utf8Path) -> Result<i64, StoreError> {
    let query = StoreError::query("read the schema's version");
    // one question, as every program asks it first
    let versions: sqlx::Result<(String, Option<i64>)> =
        sqlx::query_as("SELECT sqlite_version(), max(version) FROM _sqlx_migrations")
            .fetch_one(pool)
            .await;
    let (library, found) = match versions {
        Ok(versions) => versions,
        Err(_) if is_empty(pool).await? => return Ok(0),
        Err(error) => return Err(query(error)),
    };
    check_sqlite_version(library)?;
    let (found, known) = (found.unwrap_or(0), newest_known());
    if known < found {
        return Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

/// Whether a database has no table of migrations; refuses a library that is too
/// old to make one.
async fn is_empty(pool: &SqlitePool) -> Result<bool, StoreError> {
    let (library, tables): (String, i64) = sqlx::query_as(
        "SELECT sqlite_version(), count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("read the schema"))?;
    check_sqlite_version(library)?;
    Ok(tables == 0)
}

/// The newest schema that this program knows.
pub(crate) fn newest_known() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

async fn migrate(pool: &SqlitePool, path: &Utf8Path) -> Result<(), StoreError> {
    // somebody newer may have been faster to the lock
    schema_version(pool, path).await?;
    let run = MIGRATOR.run(pool).await;
    run.map_err(|source| StoreError::Migrate {
        path: path.to_owned(),
        source: source.into(),
    })
}

fn check_sqlite_version(found: String) -> Result<(), StoreError> {
    if version_numbers(OLDEST_SAFE_SQLITE) <= version_numbers(&found) {
        return Ok(());
    }
    Err(StoreError::UnsafeSqlite {
        found,
        needed: OLDEST_SAFE_SQLITE,
    })
}

fn version_numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::version_numbers;

    #[test]
    fn versions_compare_by_number() {
        assert!(version_numbers("3.51.3") < version_numbers("3.51.10"));
        assert!(version_numbers("3.9.0") < version_numbers("3.51.3"));
    }
}
