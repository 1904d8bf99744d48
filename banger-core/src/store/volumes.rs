//! Records of volumes, and the column with the volumes of a VM.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{
    InsertError, Store, StoreError, commit,
    row::{from_bytes, from_json, from_time, parse, to_bytes, to_json, to_time},
};
use crate::domain::{VmName, VmVolume, Volume, VolumeName, VolumeSource};

#[derive(FromRow)]
struct VolumeRow {
    name: String,
    size_bytes: i64,
    created_at: i64,
    /// A JSON list of names.
    users: String,
    labels: String,
}

/// Reads volumes with the names of the VMs that have each, in order.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT name, size_bytes, created_at, labels, \
             (SELECT json_group_array(name) FROM (SELECT vms.name FROM vm_volumes \
             JOIN vms ON vms.id = vm_volumes.vm_id WHERE vm_volumes.volume = volumes.name \
             ORDER BY vms.name)) AS users FROM volumes ",
            $rest
        )
    };
}

impl Store {
    /// Adds a volume.
    pub async fn insert_volume(&self, volume: &Volume) -> Result<(), InsertError> {
        let failed = InsertError::of("record a volume");
        let labels = to_json("volume", &volume.labels).map_err(InsertError::Store)?;
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO volumes (name, size_bytes, created_at, labels) VALUES (?, ?, ?, ?)",
        )
        .bind(volume.name.as_str())
        .bind(from_bytes(volume.size))
        .bind(from_time(volume.created))
        .bind(labels)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// The volume of that name.
    pub async fn volume(&self, name: &VolumeName) -> Result<Option<Volume>, StoreError> {
        let row: Option<VolumeRow> = sqlx::query_as(select!("WHERE name = ?"))
            .bind(name.as_str())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::query("read a volume's record"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// Every volume, by name.
    pub async fn volumes(&self) -> Result<Vec<Volume>, StoreError> {
        let rows: Vec<VolumeRow> = sqlx::query_as(select!("ORDER BY name"))
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read the records of volumes"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Removes a volume's record; answers whether there was one. Fails while a
    /// VM has it.
    pub async fn delete_volume(&self, name: &VolumeName) -> Result<bool, StoreError> {
        let statement = "DELETE FROM volumes WHERE name = ?";
        self.delete(statement, name.as_str(), "delete a volume's record")
            .await
    }
}

/// Notes which named volumes a VM has; fails when one does not exist.
pub(super) async fn insert_uses(
    transaction: &mut Transaction<'_, Sqlite>,
    vm: &str,
    volumes: &[VmVolume],
) -> sqlx::Result<()> {
    for volume in volumes {
        if let VolumeSource::Named(name) = &volume.source {
            sqlx::query("INSERT OR IGNORE INTO vm_volumes (vm_id, volume) VALUES (?, ?)")
                .bind(vm)
                .bind(name.as_str())
                .execute(&mut **transaction)
                .await?;
        }
    }
    Ok(())
}

/// A VM's volume, as stored.
#[derive(Serialize, Deserialize)]
struct VmVolumeColumn {
    kind: String,
    source: String,
    target: String,
    read_only: bool,
}

/// The column with a VM's volumes.
pub(super) fn to_column(object: &str, volumes: &[VmVolume]) -> Result<String, StoreError> {
    let columns: Vec<_> = volumes.iter().map(VmVolumeColumn::from).collect();
    to_json(object, &columns)
}

/// The volumes in that column.
pub(super) fn from_column(object: &str, text: &str) -> Result<Vec<VmVolume>, StoreError> {
    let columns: Vec<VmVolumeColumn> = from_json(object, text)?;
    let volume = |column: VmVolumeColumn| {
        let source = match column.kind.as_str() {
            "named" => VolumeSource::Named(parse(object, &column.source)?),
            "disk" => VolumeSource::Disk(column.source.into()),
            "directory" => VolumeSource::Directory(column.source.into()),
            kind => {
                let problem = format!("volume kind {kind:?} is unknown");
                return Err(StoreError::damaged(object, &problem));
            }
        };
        Ok(VmVolume {
            source,
            target: column.target,
            read_only: column.read_only,
        })
    };
    columns.into_iter().map(volume).collect()
}

impl From<&VmVolume> for VmVolumeColumn {
    fn from(volume: &VmVolume) -> Self {
        let (kind, source) = match &volume.source {
            VolumeSource::Named(name) => ("named", name.to_string()),
            VolumeSource::Disk(path) => ("disk", path.to_string()),
            VolumeSource::Directory(path) => ("directory", path.to_string()),
        };
        Self {
            kind: kind.to_owned(),
            source,
            target: volume.target.clone(),
            read_only: volume.read_only,
        }
    }
}

impl TryFrom<VolumeRow> for Volume {
    type Error = StoreError;

    fn try_from(row: VolumeRow) -> Result<Self, StoreError> {
        let object = format!("volume {}", row.name);
        let users: Vec<String> = from_json(&object, &row.users)?;
        let users: Result<Vec<VmName>, _> = users.iter().map(|name| parse(&object, name)).collect();
        Ok(Self {
            name: parse(&object, &row.name)?,
            size: to_bytes(&object, row.size_bytes)?,
            created: to_time(row.created_at),
            users: users?,
            labels: from_json(&object, &row.labels)?,
        })
    }
}
