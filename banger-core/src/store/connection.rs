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
const READERS: u32 = 4;

pub(super) async fn open(directories: &Directories) -> Result<Store, StoreError> {
    create_directory(&directories.state).map_err(StoreError::Io)?;
    let path = directories.database();
    // SQLite does not wait for its turn to start a write-ahead log: it fails
    let mut lock = None;
    if !has_write_ahead_log(&path) {
        lock = Some(schema_lock(directories).await?);
    }
    let writer = connect(&path, 1).await?;
    check_sqlite_version(&writer).await?;
    if schema_version(&writer, &path).await? < newest_known() {
        if lock.is_none() {
            lock = Some(schema_lock(directories).await?);
        }
        migrate(&writer, &path).await?;
    }
    drop(lock);
    Ok(Store {
        reader: connect(&path, READERS).await?,
        writer,
    })
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

/// A pool whose every connection has the same pragmas. `FULL` makes a record
/// durable before the files it names are handed out or removed.
async fn connect(path: &Utf8Path, connections: u32) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .connect_with(options)
        .await;
    pool.map_err(|source| StoreError::Open {
        path: path.to_owned(),
        source: source.into(),
    })
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
