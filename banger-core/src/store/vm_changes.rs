//! What happened to VMs: rows that triggers write (`migrations/0040_vm_events.sql`).
//!
//! Invariants: a change and its row are one transaction; numbers only rise.

use sqlx::FromRow;

use super::{
    Store, StoreError,
    row::{parse, to_time},
    vms::{exit, state},
};
use crate::domain::{VmChange, VmChangeKind, VmId};

#[derive(FromRow)]
struct ChangeRow {
    sequence: i64,
    happened_at: i64,
    vm_id: String,
    vm_name: String,
    change: String,
    state: String,
    reason: String,
    exit_kind: Option<String>,
    exit_detail: Option<String>,
    generation: i64,
    owner: Option<String>,
}

impl Store {
    /// The last change of a VM, which may be gone; none when it is forgotten.
    pub async fn last_vm_change(&self, id: VmId) -> Result<Option<VmChange>, StoreError> {
        let row: Option<ChangeRow> = sqlx::query_as(
            "SELECT * FROM vm_events WHERE vm_id = ? ORDER BY sequence DESC LIMIT 1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.reader)
        .await
        .map_err(StoreError::query("read a VM's last change"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// The number of the newest change; none when there is none.
    pub async fn newest_vm_change(&self) -> Result<Option<u64>, StoreError> {
        let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(sequence) FROM vm_events")
            .fetch_one(&self.reader)
            .await
            .map_err(StoreError::query("read the newest change of a VM"))?;
        Ok(newest.map(|number| u64::try_from(number).unwrap_or(0)))
    }

    /// The number of the oldest change that is kept; none when there is none.
    pub async fn oldest_vm_change(&self) -> Result<Option<u64>, StoreError> {
        let oldest: Option<i64> = sqlx::query_scalar("SELECT MIN(sequence) FROM vm_events")
            .fetch_one(&self.reader)
            .await
            .map_err(StoreError::query("read the oldest change of a VM"))?;
        Ok(oldest.map(|number| u64::try_from(number).unwrap_or(0)))
    }

    /// Changes of one or all VMs that came after a number, oldest first, at
    /// most `limit`.
    pub async fn vm_changes(
        &self,
        vm: Option<VmId>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<VmChange>, StoreError> {
        let rows: Vec<ChangeRow> = sqlx::query_as(
            "SELECT * FROM vm_events WHERE sequence > ?1 AND (?2 IS NULL OR vm_id = ?2) \
             ORDER BY sequence LIMIT ?3",
        )
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(vm.map(|id| id.to_string()))
        .bind(limit)
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("read the changes of VMs"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

impl TryFrom<ChangeRow> for VmChange {
    type Error = StoreError;

    fn try_from(row: ChangeRow) -> Result<Self, StoreError> {
        let object = format!("change {} of VM {}", row.sequence, row.vm_name);
        Ok(Self {
            sequence: u64::try_from(row.sequence).unwrap_or(0),
            at: to_time(row.happened_at),
            vm: parse(&object, &row.vm_id)?,
            name: parse(&object, &row.vm_name)?,
            kind: kind(&object, &row.change)?,
            state: state(&object, &row.state)?,
            reason: row.reason,
            exit: exit(&object, row.exit_kind.as_deref(), row.exit_detail)?,
            generation: u64::try_from(row.generation).unwrap_or(0),
            owner: row.owner,
        })
    }
}

fn kind(object: &str, column: &str) -> Result<VmChangeKind, StoreError> {
    let known = VmChangeKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == column);
    known.ok_or_else(|| StoreError::damaged(object, &format!("change {column:?} is unknown")))
}
