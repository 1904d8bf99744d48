//! The database of records (SQLite).
//!
//! Purpose: keep images, kernels and VMs; the only truth about them.
//! Invariants: the schema is brought up to date under a lock between
//! processes, forward only, and a newer one is refused; every write is one
//! statement or one immediate transaction on the one writing connection, which may
//! be the one that reads, so nothing is read beside a transaction that is open;
//! pragmas are set per connection. Every answer is on disk before it is given,
//! unless somebody said that he does not wait for it.
//! Entry points: [`Store`], [`Connections`].

mod committed;
mod connection;
mod counts;
mod error;
mod images;
mod jail_ids;
mod kernels;
mod lease;
mod operations;
mod process;
mod row;
mod sessions;
mod snapshots;
mod vm_changes;
mod vm_pages;
mod vms;
mod volumes;

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::{directories::Directories, step::reached};

pub use committed::{Committed, Uncounted};
pub(crate) use connection::newest_known as newest_schema;
pub use error::{InsertError, StoreError};
pub use operations::OperationEnd;
pub use vms::ChangedSpec;

/// The database, open. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    reader: SqlitePool,
    writer: SqlitePool,
}

/// How many connections a program has to its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// One: the fastest to open and the smallest. A read waits for a write of the
    /// same program; for programs that do one thing.
    Shared,
    /// One reads while another writes.
    #[default]
    Apart,
}

/// What a selector found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// Exactly one record.
    One(T),
    /// Nothing.
    None,
    /// Part of an id that several records share.
    Several,
}

impl<T> Found<T> {
    /// Chooses among at most two candidates; an exact match comes first and wins.
    fn choose(mut candidates: Vec<T>, exact: impl Fn(&T) -> bool) -> Self {
        if candidates.len() == 2 && !exact(&candidates[0]) {
            return Self::Several;
        }
        candidates.truncate(1);
        candidates.pop().map_or(Self::None, Self::One)
    }

    fn try_map<U, E>(self, convert: impl FnOnce(T) -> Result<U, E>) -> Result<Found<U>, E> {
        Ok(match self {
            Self::One(record) => Found::One(convert(record)?),
            Self::None => Found::None,
            Self::Several => Found::Several,
        })
    }
}

impl Store {
    /// Opens the database of a state directory, makes it if there is none, and
    /// brings its schema up to date. Cancelling leaves a whole database.
    pub async fn open(directories: &Directories) -> Result<Self, StoreError> {
        Self::open_with(directories, Connections::default()).await
    }

    /// The same with so many connections.
    pub async fn open_with(
        directories: &Directories,
        connections: Connections,
    ) -> Result<Self, StoreError> {
        connection::open(directories, connections).await
    }

    /// Whether changes wait from now on until they are on disk, as they do at
    /// first. Those that do not survive whatever happens to processes; with the
    /// host's power the last ones may be lost, but none before one that waited.
    pub(crate) async fn wait_for_disk(&self, wait: bool) -> Result<(), StoreError> {
        let statement = if wait {
            "PRAGMA synchronous = FULL"
        } else {
            "PRAGMA synchronous = NORMAL"
        };
        let set = sqlx::query(statement).execute(&self.writer).await;
        set.map(drop)
            .map_err(StoreError::query("choose how changes are made last"))
    }

    /// Starts the one kind of transaction that may write.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(StoreError::query("start a transaction"))
    }

    /// Removes the record with that key; answers whether there was one.
    async fn delete(
        &self,
        statement: &'static str,
        key: &str,
        action: &'static str,
    ) -> Result<bool, StoreError> {
        reached("about to change a record");
        let deleted = sqlx::query(statement).bind(key).execute(&self.writer).await;
        reached("changed a record");
        let deleted = deleted.map_err(StoreError::query(action))?;
        Ok(deleted.rows_affected() != 0)
    }
}

/// Makes what a transaction changed last.
async fn commit(transaction: Transaction<'static, Sqlite>) -> sqlx::Result<()> {
    reached("about to change a record");
    transaction.commit().await?;
    reached("changed a record");
    Ok(())
}

#[cfg(test)]
mod tests;
