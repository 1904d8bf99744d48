//! Operations as one of their callers sees them.
//!
//! Invariants: whoever did not ask for an operation cannot tell it from one that
//! does not exist, and nobody sees the id of another caller's request.

use super::{OperationRow, Store, StoreError};
use crate::domain::{Operation, OperationId};

/// Reads a page of a caller's operations.
macro_rules! page {
    ($beyond:literal, $order:literal) => {
        concat!(
            "SELECT operations.*, (SELECT min(request_id) FROM operation_requests \
             WHERE operation_id = operations.id AND (?1 IS NULL OR caller = ?1)) AS request_id \
             FROM operations WHERE (?2 IS NULL OR ",
            $beyond,
            ") AND (?1 IS NULL OR EXISTS (SELECT 1 FROM operation_requests \
             WHERE operation_id = operations.id AND caller = ?1)) ORDER BY id ",
            $order,
            " LIMIT ?3"
        )
    };
}

impl Store {
    /// The operation with that id, if the caller asked for it; whoever asked, without
    /// one.
    pub async fn operation_of(
        &self,
        caller: Option<&str>,
        id: OperationId,
    ) -> Result<Option<Operation>, StoreError> {
        let row: Option<OperationRow> = sqlx::query_as(
            "SELECT operations.*, (SELECT min(request_id) FROM operation_requests \
             WHERE operation_id = operations.id AND (?1 IS NULL OR caller = ?1)) AS request_id \
             FROM operations WHERE id = ?2 AND (?1 IS NULL OR EXISTS (SELECT 1 FROM operation_requests \
             WHERE operation_id = operations.id AND caller = ?1))",
        )
        .bind(caller)
        .bind(id.to_string())
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::query("read an operation"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// The operations that a caller asked for, or all: those that are older than one,
    /// newest first, or newer than one, oldest first; all without one.
    pub async fn operations_of(
        &self,
        caller: Option<&str>,
        beyond: Option<OperationId>,
        newest_first: bool,
        limit: u32,
    ) -> Result<Vec<Operation>, StoreError> {
        let statement = if newest_first {
            page!("id < ?2", "DESC")
        } else {
            page!("id > ?2", "ASC")
        };
        let rows: Vec<OperationRow> = sqlx::query_as(statement)
            .bind(caller)
            .bind(beyond.map(|id| id.to_string()))
            .bind(limit)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read operations"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Everybody who asked for an operation.
    pub async fn callers_of_operation(&self, id: OperationId) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT DISTINCT caller FROM operation_requests WHERE operation_id = ? ORDER BY caller",
        )
        .bind(id.to_string())
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("read who asked for an operation"))
    }
}
