//! What a VM costs its host.

use std::time::Duration;

use banger_proto::monitor::v1::{
    MachineMetrics, StatsRequest, StatsResponse, monitor_service_client::MonitorServiceClient,
};
use tokio::time::timeout;

use super::{
    VmQueryError, http2::origin, in_words, monitor_call::reach, stop::is_up, supervisor::Host,
};
use crate::{
    domain::{Bytes, Selector, Vm, VmName},
    error::ErrorKind,
    remote::RemoteError,
    task::off_thread,
    vmm::VmmMetrics,
};

/// How long a monitor may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What a VM costs its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmStats {
    /// The VM.
    pub vm: Vm,
    /// What its disks and logs take on the host's disks, without what is shared.
    pub disk: Bytes,
    /// What it costs while it runs; none when it does not.
    pub running: Option<RunningStats>,
}

/// What a running VM costs, counted from its boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningStats {
    /// CPU time of its VMM, the guest's included.
    pub cpu: Duration,
    /// Memory in use of its VMM, the guest's included.
    pub memory: Bytes,
    /// Memory in use of its monitor.
    pub monitor_memory: Bytes,
    /// What was read from disks of the host.
    pub read: Bytes,
    /// What was written to disks of the host.
    pub written: Bytes,
    /// Calls of clients that its guest serves.
    pub calls: u32,
    /// What its VMM counted of it.
    pub machine: VmmMetrics,
}

/// What a VM costs could not be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmStatsError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// Its monitor did not answer.
    #[error("the monitor of VM {name} failed: {problem}")]
    Monitor {
        /// The VM.
        name: VmName,
        /// What happened.
        problem: String,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl VmStatsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Monitor { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Looks at what a VM costs.
pub(super) async fn stats(host: &Host, selector: &Selector) -> Result<VmStats, VmStatsError> {
    let vm = host.find(selector).await?;
    let running = match running(host, &vm).await {
        // it may have ended between the two looks
        Err(_) if !is_up(host.refreshed(&vm).await?.state) => None,
        answered => answered?,
    };
    let files = host.files(vm.id);
    Ok(VmStats {
        disk: off_thread(move || files.size_on_disk()).await,
        vm,
        running,
    })
}

async fn running(host: &Host, vm: &Vm) -> Result<Option<RunningStats>, VmStatsError> {
    if !is_up(vm.state) {
        return Ok(None);
    }
    let failed = |problem| VmStatsError::Monitor {
        name: vm.name.clone(),
        problem,
    };
    let client = reach(&host.files(vm.id).socket(), &host.tasks).await;
    let client = client.map_err(|error| failed(in_words(&error)))?;
    let mut monitor = MonitorServiceClient::with_origin(client, origin());
    match timeout(DEADLINE, monitor.stats(StatsRequest {})).await {
        Ok(Ok(answer)) => Ok(Some(answer.into_inner().into())),
        Ok(Err(status)) => Err(failed(status.message().to_owned())),
        Err(_) => Err(failed(format!("it did not answer within {DEADLINE:?}"))),
    }
}

impl From<StatsResponse> for RunningStats {
    fn from(stats: StatsResponse) -> Self {
        Self {
            cpu: Duration::from_nanos(stats.vmm_cpu_nanos),
            memory: Bytes::new(stats.vmm_resident_bytes),
            monitor_memory: Bytes::new(stats.monitor_resident_bytes),
            read: Bytes::new(stats.read_bytes),
            written: Bytes::new(stats.written_bytes),
            calls: stats.calls,
            machine: stats.machine.unwrap_or_default().into(),
        }
    }
}

impl From<MachineMetrics> for VmmMetrics {
    fn from(metrics: MachineMetrics) -> Self {
        Self {
            disk_read_bytes: metrics.disk_read_bytes,
            disk_written_bytes: metrics.disk_written_bytes,
            disk_reads: metrics.disk_reads,
            disk_writes: metrics.disk_writes,
            network_received_bytes: metrics.network_received_bytes,
            network_sent_bytes: metrics.network_sent_bytes,
            channel_received_bytes: metrics.channel_received_bytes,
            channel_sent_bytes: metrics.channel_sent_bytes,
            exits: metrics.exits,
            refused_requests: metrics.refused_requests,
        }
    }
}

/// What a monitor tells of what a VMM counted.
pub(super) const fn told(metrics: VmmMetrics) -> MachineMetrics {
    MachineMetrics {
        disk_read_bytes: metrics.disk_read_bytes,
        disk_written_bytes: metrics.disk_written_bytes,
        disk_reads: metrics.disk_reads,
        disk_writes: metrics.disk_writes,
        network_received_bytes: metrics.network_received_bytes,
        network_sent_bytes: metrics.network_sent_bytes,
        channel_received_bytes: metrics.channel_received_bytes,
        channel_sent_bytes: metrics.channel_sent_bytes,
        exits: metrics.exits,
        refused_requests: metrics.refused_requests,
    }
}
