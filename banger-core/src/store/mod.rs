//! The database of records (SQLite).
//!
//! Purpose: keep images, kernels and VMs; the only truth about them.
//! Invariants: the schema is brought up to date under a lock between
//! processes, forward only, and a newer one is refused; every write is one
//! immediate transaction on the one writing connection; pragmas are set per
//! connection. Every answer is on disk before it is given.
//! Entry points: [`Store`].

mod connection;
mod counts;
mod error;
mod images;
mod kernels;
mod lease;
mod operations;
mod process;
mod row;
mod snapshots;
mod vm_changes;
mod vms;
mod volumes;

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::{directories::Directories, step::reached};

pub use error::{InsertError, StoreError};
pub use operations::OperationEnd;

/// The database, open. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    reader: SqlitePool,
    writer: SqlitePool,
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
        connection::open(directories).await
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
        let failed = StoreError::query(action);
        let mut transaction = self.write().await?;
        let deleted = sqlx::query(statement).bind(key);
        let done = deleted.execute(&mut *transaction).await.map_err(&failed)?;
        commit(transaction).await.map_err(failed)?;
        Ok(done.rows_affected() != 0)
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
