//! Operations, the requests that began them, and their events.
//!
//! Invariants: a request's id and its operation are recorded in one transaction,
//! so that the same request can never begin two; numbers of events rise by one;
//! an operation that is over never changes again.

mod callers;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use sqlx::{FromRow, Sqlite, Transaction};

use super::{
    Store, StoreError, commit,
    row::{from_time, parse, to_time},
};
use crate::domain::{
    BegunOperation, Operation, OperationEvent, OperationId, OperationRequest, OperationState, VmId,
};

const BY_ID: &str = "SELECT operations.*, (SELECT min(request_id) FROM operation_requests \
    WHERE operation_id = operations.id) AS request_id FROM operations WHERE id = ?";

#[derive(FromRow)]
struct OperationRow {
    id: String,
    kind: String,
    target: String,
    request_id: Option<String>,
    request: Vec<u8>,
    state: String,
    cancel_requested: bool,
    attempts: u32,
    last_sequence: i64,
    made_id: Option<String>,
    outcome: Option<Vec<u8>>,
    created_at: i64,
    ended_at: Option<i64>,
}

#[derive(FromRow)]
struct EventRow {
    sequence: i64,
    happened_at: i64,
    event: Vec<u8>,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationEnd {
    /// Any state but [`OperationState::Running`].
    pub state: OperationState,
    /// What came of it, as the service writes it.
    pub outcome: Option<Vec<u8>>,
    /// The id of the record that it made, in place of one that is known already.
    pub made: Option<String>,
    /// When.
    pub time: SystemTime,
}

impl Store {
    /// Records a request and the operation that it begins, together, or finds the
    /// operation that it began before.
    pub async fn begin_operation(
        &self,
        request: &OperationRequest,
    ) -> Result<BegunOperation, StoreError> {
        let failed = StoreError::query("record an operation");
        let mut transaction = self.write().await?;
        let known: Option<(String, String)> = sqlx::query_as(
            "SELECT digest, operation_id FROM operation_requests WHERE caller = ? AND request_id = ?",
        )
        .bind(&request.caller)
        .bind(&request.request_id)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&failed)?;
        if let Some((digest, id)) = known {
            if digest != request.digest {
                return Ok(BegunOperation::IdReused);
            }
            let operation = existing(&mut transaction, &id).await?;
            return Ok(BegunOperation::Known(operation));
        }
        let mut shared = None;
        if request.shareable {
            let twin = running_twin(&mut transaction, request).await;
            shared = twin.map_err(&failed)?;
        }
        let is_new = shared.is_none();
        let id = match shared {
            Some(id) => id,
            None => insert(&mut transaction, request).await.map_err(&failed)?,
        };
        insert_request(&mut transaction, request, &id)
            .await
            .map_err(&failed)?;
        let operation = existing(&mut transaction, &id).await?;
        commit(transaction).await.map_err(failed)?;
        if is_new {
            return Ok(BegunOperation::New(operation));
        }
        Ok(BegunOperation::Known(operation))
    }

    /// The operation that a caller's request began.
    pub async fn operation_of_request(
        &self,
        caller: &str,
        request_id: &str,
    ) -> Result<Option<Operation>, StoreError> {
        let id: Option<String> = sqlx::query_scalar(
            "SELECT operation_id FROM operation_requests WHERE caller = ? AND request_id = ?",
        )
        .bind(caller)
        .bind(request_id)
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::query("find the operation of a request"))?;
        match id {
            Some(id) => {
                let id = parse("an operation", &id)?;
                self.operation_of(Some(caller), id).await
            }
            None => Ok(None),
        }
    }

    /// What tells a caller's request from others under its id, if it came before.
    pub async fn digest_of_request(
        &self,
        caller: &str,
        request_id: &str,
    ) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT digest FROM operation_requests WHERE caller = ? AND request_id = ?",
        )
        .bind(caller)
        .bind(request_id)
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::query("look for a request"))
    }

    /// Operations that are not over, oldest first.
    pub async fn unfinished_operations(&self) -> Result<Vec<Operation>, StoreError> {
        let rows: Vec<OperationRow> = sqlx::query_as(
            "SELECT operations.*, (SELECT min(request_id) FROM operation_requests \
             WHERE operation_id = operations.id) AS request_id FROM operations \
             WHERE state = 'running' ORDER BY id",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("read unfinished operations"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Counts one more attempt at an operation, and answers its record.
    pub async fn attempt_operation(&self, id: OperationId) -> Result<Operation, StoreError> {
        let statement = "UPDATE operations SET attempts = attempts + 1 WHERE id = ?";
        self.change_operation(statement, id, "count an attempt at an operation")
            .await
    }

    /// Marks an operation as one to be given up, unless it is over, and answers
    /// its record.
    pub async fn cancel_operation(&self, id: OperationId) -> Result<Operation, StoreError> {
        let statement =
            "UPDATE operations SET cancel_requested = 1 WHERE id = ? AND state = 'running'";
        self.change_operation(statement, id, "mark an operation as one to give up")
            .await
    }

    async fn change_operation(
        &self,
        statement: &'static str,
        id: OperationId,
        action: &'static str,
    ) -> Result<Operation, StoreError> {
        let failed = StoreError::query(action);
        let mut transaction = self.write().await?;
        let changed = sqlx::query(statement).bind(id.to_string());
        changed.execute(&mut *transaction).await.map_err(&failed)?;
        let operation = existing(&mut transaction, &id.to_string()).await?;
        commit(transaction).await.map_err(failed)?;
        Ok(operation)
    }

    /// Adds events to an operation that runs, of which the newest `keep` are kept, and
    /// no more than so many bytes of all of its events, and answers the number of the
    /// last.
    pub async fn add_operation_events(
        &self,
        id: OperationId,
        events: &[(SystemTime, Vec<u8>)],
        keep: u32,
        keep_bytes: u32,
    ) -> Result<u64, StoreError> {
        let failed = StoreError::query("record an operation's progress");
        let mut transaction = self.write().await?;
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let last: i64 = sqlx::query_scalar(
            "UPDATE operations SET last_sequence = last_sequence + ? WHERE id = ? RETURNING last_sequence",
        )
        .bind(count)
        .bind(id.to_string())
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        for (number, (time, event)) in (last - count + 1..).zip(events) {
            sqlx::query("INSERT INTO operation_events (operation_id, sequence, happened_at, event) VALUES (?, ?, ?, ?)")
                .bind(id.to_string())
                .bind(number)
                .bind(from_time(*time))
                .bind(event)
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        sqlx::query("DELETE FROM operation_events WHERE operation_id = ? AND sequence <= ?")
            .bind(id.to_string())
            .bind(last - i64::from(keep))
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        sqlx::query(
            "DELETE FROM operation_events WHERE operation_id = ?1 AND sequence IN ( \
               SELECT sequence FROM (SELECT sequence, sum(length(event)) OVER (ORDER BY sequence DESC) AS bytes \
                 FROM operation_events WHERE operation_id = ?1) WHERE ?2 < bytes)",
        )
        .bind(id.to_string())
        .bind(keep_bytes)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)?;
        Ok(u64::try_from(last).unwrap_or(0))
    }

    /// Events of an operation from a number on, oldest first.
    pub async fn operation_events(
        &self,
        id: OperationId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<OperationEvent>, StoreError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT sequence, happened_at, event FROM operation_events \
             WHERE operation_id = ? AND sequence >= ? ORDER BY sequence LIMIT ?",
        )
        .bind(id.to_string())
        .bind(i64::try_from(from).unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("read an operation's events"))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Ends an operation, which counts as its last event, and answers its record.
    /// One that is over stays as it is.
    pub async fn end_operation(
        &self,
        id: OperationId,
        end: &OperationEnd,
    ) -> Result<Operation, StoreError> {
        let failed = StoreError::query("record an operation's end");
        let mut transaction = self.write().await?;
        sqlx::query(
            "UPDATE operations SET state = ?, outcome = ?, made_id = coalesce(?, made_id), ended_at = ?, \
             last_sequence = last_sequence + 1 WHERE id = ? AND state = 'running'",
        )
        .bind(end.state.as_str())
        .bind(&end.outcome)
        .bind(&end.made)
        .bind(from_time(end.time))
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        let operation = existing(&mut transaction, &id.to_string()).await?;
        commit(transaction).await.map_err(failed)?;
        Ok(operation)
    }

    /// The VM that an operation made, or is making: the one with its id in the label
    /// `banger.operation`, which those that were restored from it have, too.
    pub async fn vm_of_operation(&self, id: OperationId) -> Result<Option<VmId>, StoreError> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT vms.id FROM vms JOIN operations ON operations.id = ?1 \
             WHERE vms.id = made_id OR (made_id IS NULL AND json_extract(labels, '$.\"banger.operation\"') = ?1)",
        )
        .bind(id.to_string())
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::query("find the VM of an operation"))?;
        found.map(|id| parse("a VM", &id)).transpose()
    }

    /// Forgets operations that ended before a time, with their requests and
    /// events, but for those whose record exists. Answers how many.
    pub async fn forget_operations(&self, before: SystemTime) -> Result<u64, StoreError> {
        let failed = StoreError::query("forget old operations");
        let mut transaction = self.write().await?;
        let deleted = sqlx::query(
            "DELETE FROM operations WHERE ended_at < ? AND NOT EXISTS (SELECT 1 FROM vms WHERE id = made_id) \
             AND NOT EXISTS (SELECT 1 FROM images WHERE id = made_id) \
             AND id NOT IN (SELECT json_extract(labels, '$.\"banger.operation\"') FROM volumes \
             WHERE json_extract(labels, '$.\"banger.operation\"') IS NOT NULL)",
        )
        .bind(from_time(before))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)?;
        Ok(deleted.rows_affected())
    }
}

async fn existing(
    transaction: &mut Transaction<'_, Sqlite>,
    id: &str,
) -> Result<Operation, StoreError> {
    let row: OperationRow = sqlx::query_as(BY_ID)
        .bind(id)
        .fetch_one(&mut **transaction)
        .await
        .map_err(StoreError::query("read an operation"))?;
    row.try_into()
}

/// An operation that runs for the same request, whoever's.
async fn running_twin(
    transaction: &mut Transaction<'_, Sqlite>,
    request: &OperationRequest,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT operations.id FROM operations JOIN operation_requests ON operation_id = operations.id \
         WHERE state = 'running' AND NOT cancel_requested AND kind = ? AND digest = ? LIMIT 1",
    )
    .bind(&request.kind)
    .bind(&request.digest)
    .fetch_optional(&mut **transaction)
    .await
}

async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    request: &OperationRequest,
) -> sqlx::Result<String> {
    let id = OperationId::generate().to_string();
    sqlx::query(
        "INSERT INTO operations (id, kind, target, request, state, created_at) \
         VALUES (?, ?, ?, ?, 'running', ?)",
    )
    .bind(&id)
    .bind(&request.kind)
    .bind(&request.target)
    .bind(&request.request)
    .bind(from_time(request.time))
    .execute(&mut **transaction)
    .await?;
    Ok(id)
}

async fn insert_request(
    transaction: &mut Transaction<'_, Sqlite>,
    request: &OperationRequest,
    id: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO operation_requests (caller, request_id, digest, operation_id) VALUES (?, ?, ?, ?)",
    )
    .bind(&request.caller)
    .bind(&request.request_id)
    .bind(&request.digest)
    .bind(id)
    .execute(&mut **transaction)
    .await
    .map(drop)
}

impl TryFrom<OperationRow> for Operation {
    type Error = StoreError;

    fn try_from(row: OperationRow) -> Result<Self, StoreError> {
        let object = format!("operation {}", row.id);
        Ok(Self {
            id: parse(&object, &row.id)?,
            kind: row.kind,
            target: row.target,
            request_id: row.request_id.unwrap_or_default(),
            request: row.request,
            state: state(&object, &row.state)?,
            cancel_requested: row.cancel_requested,
            attempts: row.attempts,
            last_sequence: u64::try_from(row.last_sequence).unwrap_or(0),
            made: row.made_id,
            outcome: row.outcome,
            created: to_time(row.created_at),
            ended: row.ended_at.map(to_time),
        })
    }
}

impl From<EventRow> for OperationEvent {
    fn from(row: EventRow) -> Self {
        Self {
            sequence: u64::try_from(row.sequence).unwrap_or(0),
            time: to_time(row.happened_at),
            event: row.event,
        }
    }
}

fn state(object: &str, column: &str) -> Result<OperationState, StoreError> {
    let known = OperationState::ALL
        .into_iter()
        .find(|state| state.as_str() == column);
    known.ok_or_else(|| StoreError::damaged(object, &format!("state {column:?} is unknown")))
}
