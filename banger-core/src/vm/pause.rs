//! Stopping a VM's CPUs and letting them go on.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status};

use banger_proto::monitor::v1::{
    PauseRequest, ResumeRequest, monitor_service_client::MonitorServiceClient,
};

use super::{
    VmQueryError,
    http2::{Http2Client, origin},
    in_words,
    monitor_call::reach,
    supervisor::Host,
};
use crate::{
    domain::{Selector, Vm, VmName, VmState},
    error::ErrorKind,
    remote::RemoteError,
};

/// How long a monitor may take: its VMM may be busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// A VM could not be paused or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PauseVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// There is nothing to pause.
    #[error("VM {name} is {}: it does not run", state.as_str())]
    NotRunning {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// Its monitor or its VMM failed.
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

impl PauseVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::NotRunning { .. } => ErrorKind::Conflict,
            Self::Monitor { .. } => ErrorKind::Internal,
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Paused,
    Running,
}

/// Brings a VM's CPUs into the wanted state.
pub(super) async fn pause(
    host: &Host,
    selector: &Selector,
    wanted: Wanted,
) -> Result<Vm, PauseVmError> {
    let vm = host.find(selector).await?;
    if !matches!(vm.state, VmState::Running | VmState::Paused) {
        return Err(not_running(&vm));
    }
    let failed = |problem| PauseVmError::Monitor {
        name: vm.name.clone(),
        problem,
    };
    let client = reach(&host.files(vm.id).socket(), &host.tasks).await;
    let client = client.map_err(|error| failed(in_words(&error)))?;
    match timeout(DEADLINE, ask(client, wanted)).await {
        Ok(Ok(())) => Ok(host.refreshed(&vm).await?),
        // it ended meanwhile
        Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
            Err(not_running(&host.refreshed(&vm).await?))
        }
        Ok(Err(status)) => Err(failed(status.message().to_owned())),
        Err(_) => Err(failed(format!("it did not answer within {DEADLINE:?}"))),
    }
}

async fn ask(client: Http2Client, wanted: Wanted) -> Result<(), Status> {
    let mut monitor = MonitorServiceClient::with_origin(client, origin());
    match wanted {
        Wanted::Paused => monitor.pause(PauseRequest {}).await.map(drop),
        Wanted::Running => monitor.resume(ResumeRequest {}).await.map(drop),
    }
}

fn not_running(vm: &Vm) -> PauseVmError {
    PauseVmError::NotRunning {
        name: vm.name.clone(),
        state: vm.state,
    }
}
