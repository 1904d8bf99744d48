//! Opening the database: pragmas, version checks, migrations.

use std::{fs::File, io::Read as _, time::Duration};

use camino::Utf8Path;
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Store, StoreError};
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
/// One reads while another writes. A read is one short statement, and each
/// connection has a thread and a cache of its own: opening one takes longer
/// than many reads.
const READERS: u32 = 1;

pub(super) async fn open(directories: &Directories) -> Result<Store, StoreError> {
    create_directory(&directories.state).map_err(StoreError::Io)?;
    let path = directories.database();
    // SQLite does not wait for its turn to start a write-ahead log: it fails
    let mut lock = None;
    if !has_write_ahead_log(&path) {
        lock = Some(schema_lock(directories).await?);
    }
    let mut reader = connect(&path).await?;
    check_sqlite_version(&reader).await?;
    // most programs only read: it is connected when it is needed
    let writer = pool(1).connect_lazy_with(options(&path));
    if schema_version(&reader, &path).await? < newest_known() {
        if lock.is_none() {
            lock = Some(schema_lock(directories).await?);
        }
        migrate(&writer, &path).await?;
        // it knows the schema from before
        reader.close().await;
        reader = connect(&path).await?;
    }
    drop(lock);
    Ok(Store { reader, writer })
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

/// Connects the reader, which makes the file if there is none.
async fn connect(path: &Utf8Path) -> Result<SqlitePool, StoreError> {
    let pool = pool(READERS).connect_with(options(path)).await;
    pool.map_err(|source| StoreError::Open {
        path: path.to_owned(),
        source: source.into(),
    })
}

/// Connections that stay. A file cannot go away as a server does: there is
/// nothing to test.
///
/// No connection is ever too old: without limits sqlx starts no task that looks
/// for such. That task counts the idle ones while others take and return them,
/// may read a count below zero, which is one of 2^64, and then spins for as long
/// as the process lives, and keeps its runtime from ending.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
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
}

/// The newest applied migration, 0 for an empty database; refuses one that
/// this program does not know.
async fn schema_version(pool: &SqlitePool, path: &Utf8Path) -> Result<i64, StoreError> {
    let query = StoreError::query("read the schema's version");
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(pool)
    .await
    .map_err(&query)?;
    if tables == 0 {
        return Ok(0);
    }
    let version: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(pool)
        .await
        .map_err(&query)?;
    let (found, known) = (version.unwrap_or(0), newest_known());
    if known < found {
        return Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

fn newest_known() -> i64 {
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

async fn check_sqlite_version(pool: &SqlitePool) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(StoreError::query("read SQLite's version"))?;
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
