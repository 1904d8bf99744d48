//! VM records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{
    Found, InsertError, Store, StoreError, commit,
    lease::{lease, lease_column},
    process,
    row::{from_bytes, from_json, from_time, parse, to_bytes, to_json, to_time},
    volumes,
};
use crate::{
    domain::{
        BackendChoice, BackendKind, BootMode, NetworkMode, PublishedPort, RootDiskMode, Selector,
        Vm, VmExit, VmId, VmSpec, VmState,
    },
    step::reached,
};

/// A VM's columns. A snapshot keeps them as JSON, so that one that is added
/// later needs a default.
#[derive(FromRow, Serialize, Deserialize)]
pub(super) struct VmRow {
    id: String,
    name: String,
    image_id: String,
    vcpus: u32,
    memory_bytes: i64,
    boot_mode: String,
    root_disk: String,
    disk_bytes: i64,
    wanted_backend: Option<String>,
    network: String,
    ports: String,
    remove_on_stop: bool,
    lease: Option<String>,
    labels: String,
    volumes: String,
    process: String,
    state: String,
    reason: String,
    backend: Option<String>,
    backend_reason: Option<String>,
    boot_id: Option<String>,
    bound_ports: String,
    exit_kind: Option<String>,
    exit_detail: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    stopped_at: Option<i64>,
    generation: i64,
}

/// What became of a change of what is asked of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedSpec {
    /// It is made; the record as stored.
    Done(Box<Vm>),
    /// The record has another generation than was expected.
    Stale,
    /// The VM is gone.
    Gone,
}

impl Store {
    /// Adds a VM; its generation becomes 1.
    pub async fn insert_vm(&self, vm: &Vm) -> Result<(), InsertError> {
        let row = VmRow::try_from(vm)?;
        let failed = InsertError::of("record a VM");
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO vms (id, name, image_id, vcpus, memory_bytes, boot_mode, root_disk, disk_bytes, \
             wanted_backend, network, ports, remove_on_stop, lease, labels, volumes, process, state, reason, \
             created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&row.id)
        .bind(row.name)
        .bind(row.image_id)
        .bind(row.vcpus)
        .bind(row.memory_bytes)
        .bind(row.boot_mode)
        .bind(row.root_disk)
        .bind(row.disk_bytes)
        .bind(row.wanted_backend)
        .bind(row.network)
        .bind(row.ports)
        .bind(row.remove_on_stop)
        .bind(row.lease)
        .bind(row.labels)
        .bind(row.volumes)
        .bind(row.process)
        .bind(row.state)
        .bind(row.reason)
        .bind(row.created_at)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        let used = volumes::insert_uses(&mut transaction, &row.id, &vm.spec.volumes).await;
        used.map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// Stores what changes in a VM's life (state, reason, backend, boot, exit
    /// and times) under the next generation, and answers the record as stored.
    /// The caller is the VM's one writer.
    pub async fn update_vm(&self, vm: &Vm) -> Result<Vm, StoreError> {
        let row = VmRow::try_from(vm)?;
        let update = sqlx::query_as(
            "UPDATE vms SET state = ?, reason = ?, backend = ?, backend_reason = ?, boot_id = ?, bound_ports = ?, \
             exit_kind = ?, exit_detail = ?, started_at = ?, stopped_at = ?, generation = generation + 1 WHERE id = ? RETURNING *",
        )
        .bind(row.state)
        .bind(row.reason)
        .bind(row.backend)
        .bind(row.backend_reason)
        .bind(row.boot_id)
        .bind(row.bound_ports)
        .bind(row.exit_kind)
        .bind(row.exit_detail)
        .bind(row.started_at)
        .bind(row.stopped_at)
        .bind(row.id);
        reached("about to change a record");
        // to its end, at which it is committed, or is not
        let stored: sqlx::Result<Vec<VmRow>> = update.fetch_all(&self.writer).await;
        reached("changed a record");
        let stored = stored.and_then(|mut rows| rows.pop().ok_or(sqlx::Error::RowNotFound));
        let stored = stored.map_err(StoreError::query("update a VM's record"))?;
        stored.try_into()
    }

    /// Changes what is asked of a VM under the next generation, and answers the
    /// record as stored. These columns are apart from those of a VM's life: whoever
    /// owns that is not in the way. Where a generation is expected, nothing is
    /// changed of a record that has another one.
    pub async fn change_vm_spec(
        &self,
        id: VmId,
        expected: Option<u64>,
        change: impl FnOnce(&mut VmSpec) + Send,
    ) -> Result<ChangedSpec, StoreError> {
        let failed = StoreError::query("change what is asked of a VM");
        let mut transaction = self.write().await?;
        let row: Option<VmRow> = sqlx::query_as("SELECT * FROM vms WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&failed)?;
        let Some(row) = row else {
            return Ok(ChangedSpec::Gone);
        };
        let mut vm = Vm::try_from(row)?;
        if expected.is_some_and(|expected| expected != vm.generation) {
            return Ok(ChangedSpec::Stale);
        }
        change(&mut vm.spec);
        let row = VmRow::try_from(&vm)?;
        let stored: VmRow = sqlx::query_as(
            "UPDATE vms SET vcpus = ?, memory_bytes = ?, disk_bytes = ?, lease = ?, labels = ?, \
             generation = generation + 1 WHERE id = ? RETURNING *",
        )
        .bind(row.vcpus)
        .bind(row.memory_bytes)
        .bind(row.disk_bytes)
        .bind(row.lease)
        .bind(row.labels)
        .bind(row.id)
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        stored.try_into().map(Box::new).map(ChangedSpec::Done)
    }

    /// Every VM, by name.
    pub async fn vms(&self) -> Result<Vec<Vm>, StoreError> {
        let rows: Vec<VmRow> = sqlx::query_as("SELECT * FROM vms ORDER BY name")
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read the records of VMs"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The VM with that id.
    pub async fn vm(&self, id: VmId) -> Result<Option<Vm>, StoreError> {
        let row: Option<VmRow> = sqlx::query_as("SELECT * FROM vms WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::query("read a VM's record"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// The VM a selector means.
    pub async fn find_vm(&self, selector: &Selector) -> Result<Found<Vm>, StoreError> {
        // what indexes find, first: looking for part of an id reads every record
        let exact = "SELECT * FROM vms WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC LIMIT 1";
        let mut rows = self.look_up_vms(exact, selector).await?;
        if rows.is_empty() && selector.may_be_id_part() {
            let part = "SELECT * FROM vms WHERE id LIKE ?1 || '%' OR id LIKE '%' || ?1 LIMIT 2";
            rows = self.look_up_vms(part, selector).await?;
        }
        Found::choose(rows, |_| false).try_map(TryInto::try_into)
    }

    async fn look_up_vms(
        &self,
        statement: &'static str,
        selector: &Selector,
    ) -> Result<Vec<VmRow>, StoreError> {
        let rows = sqlx::query_as(statement).bind(selector.as_str());
        let rows = rows.fetch_all(&self.reader).await;
        rows.map_err(StoreError::query("look up a VM"))
    }

    /// Removes a VM's record; answers whether there was one.
    pub async fn delete_vm(&self, id: VmId) -> Result<bool, StoreError> {
        let statement = "DELETE FROM vms WHERE id = ?";
        self.delete(statement, &id.to_string(), "delete a VM's record")
            .await
    }
}

/// A VM's record in one column.
pub(super) fn vm_to_column(object: &str, vm: &Vm) -> Result<String, StoreError> {
    to_json(object, &VmRow::try_from(vm)?)
}

/// The record in that column.
pub(super) fn vm_from_column(object: &str, text: &str) -> Result<Vm, StoreError> {
    from_json::<VmRow>(object, text)?.try_into()
}

impl TryFrom<&Vm> for VmRow {
    type Error = StoreError;

    fn try_from(vm: &Vm) -> Result<Self, StoreError> {
        let object = format!("VM {}", vm.name);
        let (exit_kind, exit_detail) = vm.exit.as_ref().map_or((None, None), exit_columns);
        Ok(Self {
            id: vm.id.to_string(),
            name: vm.name.to_string(),
            image_id: vm.image.to_string(),
            vcpus: vm.spec.vcpus,
            memory_bytes: from_bytes(vm.spec.memory),
            boot_mode: vm.spec.boot_mode.as_str().to_owned(),
            root_disk: root_disk_column(vm.spec.root_disk).to_owned(),
            disk_bytes: from_bytes(vm.spec.disk_size),
            wanted_backend: vm.spec.backend.map(|backend| backend.as_str().to_owned()),
            network: vm.spec.network.as_str().to_owned(),
            ports: ports_column(&object, &vm.spec.ports)?,
            remove_on_stop: vm.spec.remove_on_stop,
            lease: lease_column(&object, vm.spec.lease.as_ref())?,
            labels: to_json(&object, &vm.spec.labels)?,
            volumes: volumes::to_column(&object, &vm.spec.volumes)?,
            process: process::to_column(&object, &vm.spec.process)?,
            state: vm.state.as_str().to_owned(),
            reason: vm.reason.clone(),
            backend: vm
                .backend
                .as_ref()
                .map(|choice| choice.kind.as_str().to_owned()),
            backend_reason: vm.backend.as_ref().map(|choice| choice.reason.clone()),
            boot_id: vm.boot_id.clone(),
            bound_ports: ports_column(&object, &vm.ports)?,
            exit_kind: exit_kind.map(str::to_owned),
            exit_detail,
            created_at: from_time(vm.created),
            started_at: vm.started.map(from_time),
            stopped_at: vm.stopped.map(from_time),
            generation: i64::try_from(vm.generation).unwrap_or(i64::MAX),
        })
    }
}

impl TryFrom<VmRow> for Vm {
    type Error = StoreError;

    fn try_from(row: VmRow) -> Result<Self, StoreError> {
        let object = format!("VM {}", row.name);
        Ok(Self {
            id: parse(&object, &row.id)?,
            name: parse(&object, &row.name)?,
            image: parse(&object, &row.image_id)?,
            spec: spec(&object, &row)?,
            state: state(&object, &row.state)?,
            backend: backend_choice(&object, row.backend.as_deref(), row.backend_reason)?,
            exit: exit(&object, row.exit_kind.as_deref(), row.exit_detail)?,
            reason: row.reason,
            boot_id: row.boot_id,
            ports: ports(&object, &row.bound_ports)?,
            created: to_time(row.created_at),
            started: row.started_at.map(to_time),
            stopped: row.stopped_at.map(to_time),
            generation: u64::try_from(row.generation).unwrap_or(0),
        })
    }
}

fn spec(object: &str, row: &VmRow) -> Result<VmSpec, StoreError> {
    let labels: BTreeMap<String, String> = from_json(object, &row.labels)?;
    Ok(VmSpec {
        vcpus: row.vcpus,
        memory: to_bytes(object, row.memory_bytes)?,
        boot_mode: boot_mode(object, &row.boot_mode)?,
        root_disk: root_disk(object, &row.root_disk)?,
        disk_size: to_bytes(object, row.disk_bytes)?,
        backend: row
            .wanted_backend
            .as_deref()
            .map(|name| backend(object, name))
            .transpose()?,
        network: network(object, &row.network)?,
        ports: ports(object, &row.ports)?,
        remove_on_stop: row.remove_on_stop,
        lease: lease(object, row.lease.as_deref())?,
        labels,
        volumes: volumes::from_column(object, &row.volumes)?,
        process: process::from_column(object, &row.process)?,
    })
}

fn network(object: &str, column: &str) -> Result<NetworkMode, StoreError> {
    let known = NetworkMode::ALL
        .into_iter()
        .find(|mode| mode.as_str() == column);
    known.ok_or_else(|| StoreError::damaged(object, &format!("network {column:?} is unknown")))
}

/// Published ports in the form that users write, as a JSON list.
fn ports_column(object: &str, ports: &[PublishedPort]) -> Result<String, StoreError> {
    let texts: Vec<String> = ports.iter().map(ToString::to_string).collect();
    to_json(object, &texts)
}

fn ports(object: &str, column: &str) -> Result<Vec<PublishedPort>, StoreError> {
    let texts: Vec<String> = from_json(object, column)?;
    texts.iter().map(|text| parse(object, text)).collect()
}

const fn root_disk_column(mode: RootDiskMode) -> &'static str {
    match mode {
        RootDiskMode::Overlay => "overlay",
        RootDiskMode::Clone => "clone",
    }
}

fn root_disk(object: &str, column: &str) -> Result<RootDiskMode, StoreError> {
    match column {
        "overlay" => Ok(RootDiskMode::Overlay),
        "clone" => Ok(RootDiskMode::Clone),
        _ => Err(StoreError::damaged(
            object,
            &format!("root disk mode {column:?} is unknown"),
        )),
    }
}

fn boot_mode(object: &str, column: &str) -> Result<BootMode, StoreError> {
    let known = BootMode::ALL
        .into_iter()
        .find(|mode| mode.as_str() == column);
    known.ok_or_else(|| StoreError::damaged(object, &format!("boot mode {column:?} is unknown")))
}

pub(super) fn state(object: &str, column: &str) -> Result<VmState, StoreError> {
    let known = VmState::ALL
        .into_iter()
        .find(|state| state.as_str() == column);
    known.ok_or_else(|| StoreError::damaged(object, &format!("state {column:?} is unknown")))
}

pub(super) fn backend(object: &str, column: &str) -> Result<BackendKind, StoreError> {
    let known = BackendKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == column);
    known.ok_or_else(|| StoreError::damaged(object, &format!("backend {column:?} is unknown")))
}

fn backend_choice(
    object: &str,
    kind: Option<&str>,
    reason: Option<String>,
) -> Result<Option<BackendChoice>, StoreError> {
    let Some(kind) = kind else { return Ok(None) };
    Ok(Some(BackendChoice {
        kind: backend(object, kind)?,
        reason: reason.unwrap_or_default(),
    }))
}

fn exit_columns(exit: &VmExit) -> (Option<&'static str>, Option<String>) {
    match exit {
        VmExit::PoweredOff => (Some("powered-off"), None),
        VmExit::Forced => (Some("forced"), None),
        VmExit::VmmDied(status) => (Some("vmm-died"), Some(status.clone())),
        VmExit::NetworkLost(words) => (Some("network-lost"), Some(words.clone())),
        VmExit::MonitorLost => (Some("monitor-lost"), None),
        VmExit::Command(end) => process::exit_columns(*end),
    }
}

pub(super) fn exit(
    object: &str,
    kind: Option<&str>,
    detail: Option<String>,
) -> Result<Option<VmExit>, StoreError> {
    Ok(Some(match kind {
        None => return Ok(None),
        Some("powered-off") => VmExit::PoweredOff,
        Some("forced") => VmExit::Forced,
        Some("vmm-died") => VmExit::VmmDied(detail.unwrap_or_default()),
        Some("network-lost") => VmExit::NetworkLost(detail.unwrap_or_default()),
        Some("monitor-lost") => VmExit::MonitorLost,
        Some(process::CODE | process::SIGNAL) => {
            VmExit::Command(process::end(object, kind, detail.as_deref())?)
        }
        Some(kind) => {
            return Err(StoreError::damaged(
                object,
                &format!("exit {kind:?} is unknown"),
            ));
        }
    }))
}
