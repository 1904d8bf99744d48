//! What VMs and volumes take of their host, as sums over their records.

use sqlx::FromRow;

use super::{Store, StoreError, row::to_json};

/// What VMs take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// How many there are.
    pub vms: u64,
    /// Virtual CPUs of those that run.
    pub vcpus: u64,
    /// Memory of those that run.
    pub memory: u64,
    /// Sizes of the disks of all, and of volumes.
    pub disk: u64,
}

/// What is not counted, because somebody else counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// VMs and volumes that these operations make.
    pub operations: Vec<String>,
    /// CPUs and memory of these VMs.
    pub running: Vec<String>,
}

#[derive(FromRow)]
struct SumsRow {
    vms: i64,
    vcpus: i64,
    memory: i64,
    disk: i64,
}

impl Store {
    /// What VMs and volumes take: those that a caller's requests made, or all.
    pub async fn committed(
        &self,
        caller: Option<&str>,
        uncounted: &Uncounted,
    ) -> Result<Committed, StoreError> {
        let sums: SumsRow = sqlx::query_as(
            "SELECT count(*) AS vms, coalesce(sum(runs * vcpus), 0) AS vcpus, \
             coalesce(sum(runs * memory_bytes), 0) AS memory, coalesce(sum(disk_bytes), 0) AS disk FROM ( \
               SELECT vcpus, memory_bytes, disk_bytes, json_extract(labels, '$.\"banger.operation\"') AS operation, \
                 state IN ('starting', 'running', 'paused', 'stopping') \
                 AND id NOT IN (SELECT value FROM json_each(?2)) AS runs FROM vms) \
             WHERE coalesce(operation, '') NOT IN (SELECT value FROM json_each(?1)) \
             AND (?3 IS NULL OR EXISTS (SELECT 1 FROM operation_requests WHERE operation_id = operation AND caller = ?3))",
        )
        .bind(to_json("operations", &uncounted.operations)?)
        .bind(to_json("VMs", &uncounted.running)?)
        .bind(caller)
        .fetch_one(&self.reader)
        .await
        .map_err(StoreError::query("add up what VMs take"))?;
        let sum = |value: i64| u64::try_from(value).unwrap_or(0);
        let volumes = self.committed_to_volumes(caller, uncounted).await?;
        Ok(Committed {
            vms: sum(sums.vms),
            vcpus: sum(sums.vcpus),
            memory: sum(sums.memory),
            disk: sum(sums.disk).saturating_add(sum(volumes)),
        })
    }

    async fn committed_to_volumes(
        &self,
        caller: Option<&str>,
        uncounted: &Uncounted,
    ) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "SELECT coalesce(sum(size_bytes), 0) FROM volumes \
             WHERE coalesce(json_extract(labels, '$.\"banger.operation\"'), '') NOT IN (SELECT value FROM json_each(?1)) \
             AND (?2 IS NULL OR json_extract(labels, '$.\"banger.owner\"') = ?2)",
        )
        .bind(to_json("operations", &uncounted.operations)?)
        .bind(caller)
        .fetch_one(&self.reader)
        .await
        .map_err(StoreError::query("add up what volumes take"))
    }
}
