//! Records of snapshots.

use sqlx::FromRow;

use super::{
    Found, Store, StoreError, commit,
    row::{from_bytes, from_time, parse, to_bytes, to_time},
    vms::{backend, vm_from_column, vm_to_column},
};
use crate::domain::{ImageId, Selector, Snapshot, SnapshotId};

#[derive(FromRow)]
struct SnapshotRow {
    id: String,
    vm: String,
    backend: String,
    on_disk_bytes: i64,
    created_at: i64,
}

impl Store {
    /// Adds a snapshot; fails when its VM's image is gone.
    pub async fn insert_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let failed = StoreError::query("record a snapshot");
        let vm = vm_to_column(&object(&snapshot.id.to_string()), &snapshot.vm)?;
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO snapshots (id, image_id, vm, backend, on_disk_bytes, created_at) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(snapshot.id.to_string())
        .bind(snapshot.vm.image.to_string())
        .bind(vm)
        .bind(snapshot.backend.as_str())
        .bind(from_bytes(snapshot.size_on_disk))
        .bind(from_time(snapshot.created))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// Every snapshot, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, StoreError> {
        let rows: Vec<SnapshotRow> = sqlx::query_as("SELECT * FROM snapshots ORDER BY id")
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read the records of snapshots"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The snapshot with that id.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        let row: Option<SnapshotRow> = sqlx::query_as("SELECT * FROM snapshots WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::query("read a snapshot's record"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// The snapshot a selector means, by its id or a part of it.
    pub async fn find_snapshot(&self, selector: &Selector) -> Result<Found<Snapshot>, StoreError> {
        let rows: Vec<SnapshotRow> = sqlx::query_as(
            "SELECT * FROM snapshots WHERE id = ?1 \
             OR (?2 AND (id LIKE ?1 || '%' OR id LIKE '%' || ?1)) ORDER BY id = ?1 DESC LIMIT 2",
        )
        .bind(selector.as_str())
        .bind(selector.may_be_id_part())
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("look up a snapshot"))?;
        let exact = |row: &SnapshotRow| row.id == selector.as_str();
        Found::choose(rows, exact).try_map(TryInto::try_into)
    }

    /// The snapshots of VMs that have an image, oldest first.
    pub async fn snapshots_of_image(&self, id: ImageId) -> Result<Vec<SnapshotId>, StoreError> {
        let ids: Vec<String> =
            sqlx::query_scalar("SELECT id FROM snapshots WHERE image_id = ? ORDER BY id")
                .bind(id.to_string())
                .fetch_all(&self.reader)
                .await
                .map_err(StoreError::query("find the snapshots of an image"))?;
        ids.iter().map(|id| parse("a snapshot", id)).collect()
    }

    /// Removes a snapshot's record; answers whether there was one.
    pub async fn delete_snapshot(&self, id: SnapshotId) -> Result<bool, StoreError> {
        let statement = "DELETE FROM snapshots WHERE id = ?";
        self.delete(statement, &id.to_string(), "delete a snapshot's record")
            .await
    }
}

fn object(id: &str) -> String {
    format!("snapshot {id}")
}

impl TryFrom<SnapshotRow> for Snapshot {
    type Error = StoreError;

    fn try_from(row: SnapshotRow) -> Result<Self, StoreError> {
        let object = object(&row.id);
        Ok(Self {
            id: parse(&object, &row.id)?,
            vm: vm_from_column(&object, &row.vm)?,
            backend: backend(&object, &row.backend)?,
            size_on_disk: to_bytes(&object, row.on_disk_bytes)?,
            created: to_time(row.created_at),
        })
    }
}
