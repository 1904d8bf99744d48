//! A look at the database that leaves it as it is.

use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{directories::Directories, error::in_words, store};

/// What a look at it may wait for others who write.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most faults that are told.
const FAULTS: &str = "PRAGMA quick_check(3)";

/// What is known of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The newest migration that was applied.
    pub schema: i64,
    /// The newest one that this program knows.
    pub newest_known: i64,
    /// What SQLite finds wrong with the file; nothing when it is whole.
    pub faults: Vec<String>,
}

/// Looks at the database; none when there is none yet. It is neither made nor
/// brought up to date.
pub(super) async fn look(directories: &Directories) -> Result<Option<DatabaseFacts>, String> {
    let path = directories.database();
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{path} cannot be looked at: {error}")),
        Ok(_) => {}
    }
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .busy_timeout(PATIENCE);
    let looked = async {
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let faults: Vec<String> = sqlx::query_scalar(FAULTS)
            .fetch_all(&mut connection)
            .await?;
        let schema = schema(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>((schema, faults))
    };
    let (schema, faults) = looked
        .await
        .map_err(|error| format!("{path} cannot be read: {}", in_words(&error)))?;
    Ok(Some(DatabaseFacts {
        schema,
        newest_known: store::newest_schema(),
        faults: faults.into_iter().filter(|fault| fault != "ok").collect(),
    }))
}

/// The newest migration that was applied; 0 where none was.
async fn schema(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if tables == 0 {
        return Ok(0);
    }
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    Ok(newest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::store::Store;

    fn directories(root: &Utf8Path) -> Directories {
        Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        }
    }

    #[tokio::test]
    async fn a_database_is_looked_at_and_not_made() {
        let scratch = tempfile::tempdir().unwrap();
        let directories = directories(Utf8Path::from_path(scratch.path()).unwrap());
        assert_eq!(look(&directories).await, Ok(None));
        assert!(!directories.state.exists());

        drop(Store::open(&directories).await.unwrap());
        let facts = look(&directories).await.unwrap().unwrap();
        assert_eq!((facts.schema, facts.faults.len()), (facts.newest_known, 0));
    }

    #[tokio::test]
    async fn what_is_no_database_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let directories = directories(Utf8Path::from_path(scratch.path()).unwrap());
        std::fs::create_dir_all(&directories.state).unwrap();
        std::fs::write(directories.database(), "no database ".repeat(1000)).unwrap();
        let problem = look(&directories).await.unwrap_err();
        assert!(problem.contains("not a database"), "{problem}");
    }

    #[tokio::test]
    async fn a_damaged_page_is_found() {
        use std::os::unix::fs::FileExt as _;

        let scratch = tempfile::tempdir().unwrap();
        let directories = directories(Utf8Path::from_path(scratch.path()).unwrap());
        drop(Store::open(&directories).await.unwrap());
        // what a log still has is put into the file
        drop(look(&directories).await);
        let file = std::fs::File::options()
            .write(true)
            .open(directories.database());
        // the second page and those after it are trees of tables and indexes
        file.unwrap()
            .write_all_at(&[0xff; 3 * 4096], 2 * 4096)
            .unwrap();
        let damaged = match look(&directories).await {
            Ok(facts) => !facts.unwrap().faults.is_empty(),
            Err(problem) => problem.contains("malformed"),
        };
        assert!(damaged);
    }
}
