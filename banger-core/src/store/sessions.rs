//! Records of sessions.
//!
//! Invariants: a session that is over is never kept again: whether it is, and that
//! it is kept, is one transaction.

use std::time::SystemTime;

use sqlx::{FromRow, Sqlite, Transaction};

use super::{
    Store, StoreError, commit,
    lease::{lease, lease_column},
    row::{from_time, parse, to_time},
};
use crate::domain::{GrantedLease, Moment, Session, SessionId, SessionName, VmId};

#[derive(FromRow)]
struct SessionRow {
    id: String,
    caller: String,
    name: String,
    lease: String,
    created_at: i64,
    ended_at: Option<i64>,
}

impl Store {
    /// Keeps a session, which is made if there is none of that name, with the lease
    /// that `grant` makes of the one it has. One that is over by the time of the lease
    /// stays so. Answers the record.
    pub async fn keep_session(
        &self,
        caller: &str,
        name: &SessionName,
        now: &Moment,
        grant: impl FnOnce(Option<&GrantedLease>) -> GrantedLease + Send,
    ) -> Result<Session, StoreError> {
        let failed = StoreError::query("keep a session");
        let mut transaction = self.write().await?;
        let known: Option<SessionRow> =
            sqlx::query_as("SELECT * FROM sessions WHERE caller = ? AND name = ?")
                .bind(caller)
                .bind(name.as_str())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(&failed)?;
        let known = known.map(Session::try_from).transpose()?;
        if let Some(session) = known.as_ref().filter(|one| one.is_over(now)) {
            return Ok(session.clone());
        }
        let granted = grant(known.as_ref().map(|one| &one.lease));
        let kept = match known {
            Some(session) => Session {
                lease: granted,
                ..session
            },
            None => Session {
                id: SessionId::generate(),
                caller: caller.to_owned(),
                name: name.clone(),
                lease: granted,
                created: now.wall,
                ended: None,
            },
        };
        put(&mut transaction, &kept).await?;
        commit(transaction).await.map_err(failed)?;
        Ok(kept)
    }

    /// Every session that is remembered, oldest first.
    pub async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        let rows: Vec<SessionRow> = sqlx::query_as("SELECT * FROM sessions ORDER BY id")
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read the sessions"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// A caller's session, by its name or its id.
    pub async fn session(&self, caller: &str, key: &str) -> Result<Option<Session>, StoreError> {
        let row: Option<SessionRow> = sqlx::query_as(
            "SELECT * FROM sessions WHERE caller = ?1 AND (name = ?2 OR id = ?2) \
             ORDER BY name = ?2 DESC LIMIT 1",
        )
        .bind(caller)
        .bind(key)
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::query("look up a session"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// The session with that id.
    pub async fn session_of_id(&self, id: &str) -> Result<Option<Session>, StoreError> {
        let row: Option<SessionRow> = sqlx::query_as("SELECT * FROM sessions WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::query("read a session"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// Notes that a session is over.
    pub async fn end_session(&self, id: SessionId, at: SystemTime) -> Result<(), StoreError> {
        let failed = StoreError::query("end a session");
        let mut transaction = self.write().await?;
        sqlx::query("UPDATE sessions SET ended_at = coalesce(ended_at, ?) WHERE id = ?")
            .bind(from_time(at))
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// Counts the time of every session that is not over, noticed or not, from a
    /// moment on: nobody could keep one while there was no service.
    pub async fn begin_sessions_anew(&self, now: &Moment) -> Result<(), StoreError> {
        let failed = StoreError::query("count the time of sessions anew");
        let mut transaction = self.write().await?;
        let rows: Vec<SessionRow> = sqlx::query_as("SELECT * FROM sessions WHERE ended_at IS NULL")
            .fetch_all(&mut *transaction)
            .await
            .map_err(&failed)?;
        for row in rows {
            let mut session = Session::try_from(row)?;
            session.lease.granted = now.clone();
            put(&mut transaction, &session).await?;
        }
        commit(transaction).await.map_err(failed)
    }

    /// Binds the run of a VM that began at that time to a session, until it is over. A
    /// run that is over already is fine.
    pub async fn bind_run(
        &self,
        vm: VmId,
        started: SystemTime,
        session: SessionId,
    ) -> Result<(), StoreError> {
        let failed = StoreError::query("bind a run to a session");
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO session_runs (vm_id, session_id) SELECT id, ? FROM vms \
             WHERE id = ? AND started_at = ? \
             AND state IN ('starting', 'running', 'paused', 'stopping') \
             ON CONFLICT (vm_id) DO UPDATE SET session_id = excluded.session_id",
        )
        .bind(session.to_string())
        .bind(vm.to_string())
        .bind(from_time(started))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// The VMs of sessions that are over, but for those that their session's end only
    /// stops and that do not run.
    pub async fn vms_of_ended_sessions(&self) -> Result<Vec<(VmId, SessionId)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT vms.id, sessions.id FROM vms JOIN sessions \
             ON sessions.id = json_extract(vms.labels, '$.\"banger.session\"') \
             WHERE sessions.ended_at IS NOT NULL AND (json_extract(sessions.lease, '$.on_expiry') <> 'stop' \
             OR vms.state IN ('creating', 'starting', 'running', 'paused')) \
             UNION SELECT session_runs.vm_id, sessions.id FROM session_runs JOIN sessions \
             ON sessions.id = session_runs.session_id WHERE sessions.ended_at IS NOT NULL",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("find the VMs of sessions that are over"))?;
        let ids = |(vm, session): (String, String)| {
            Ok((parse("a VM", &vm)?, parse("a session", &session)?))
        };
        rows.into_iter().map(ids).collect()
    }

    /// Forgets sessions that ended before a time and have no VMs.
    pub async fn forget_sessions(&self, before: SystemTime) -> Result<(), StoreError> {
        let failed = StoreError::query("forget old sessions");
        let mut transaction = self.write().await?;
        sqlx::query(
            "DELETE FROM sessions WHERE ended_at < ? AND NOT EXISTS (SELECT 1 FROM vms \
             WHERE json_extract(labels, '$.\"banger.session\"') = sessions.id) \
             AND NOT EXISTS (SELECT 1 FROM session_runs WHERE session_id = sessions.id)",
        )
        .bind(from_time(before))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }
}

async fn put(
    transaction: &mut Transaction<'_, Sqlite>,
    session: &Session,
) -> Result<(), StoreError> {
    let object = format!("session {}", session.id);
    sqlx::query(
        "INSERT INTO sessions (id, caller, name, lease, created_at) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET lease = excluded.lease",
    )
    .bind(session.id.to_string())
    .bind(&session.caller)
    .bind(session.name.as_str())
    .bind(lease_column(&object, Some(&session.lease))?)
    .bind(from_time(session.created))
    .execute(&mut **transaction)
    .await
    .map(drop)
    .map_err(StoreError::query("record a session"))
}

impl TryFrom<SessionRow> for Session {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        let object = format!("session {}", row.id);
        let lease = lease(&object, Some(&row.lease))?;
        Ok(Self {
            id: parse(&object, &row.id)?,
            name: parse(&object, &row.name)?,
            lease: lease.ok_or_else(|| StoreError::damaged(&object, &"it has no lease"))?,
            caller: row.caller,
            created: to_time(row.created_at),
            ended: row.ended_at.map(to_time),
        })
    }
}

#[cfg(test)]
mod tests;
