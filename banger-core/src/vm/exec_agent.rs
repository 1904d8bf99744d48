//! The agent of one boot of a VM, reached again and again.
//!
//! Invariants: a call is tried again while its connection breaks and the VM runs
//! on, up to a deadline: it must be one that may be made twice; a VM that is gone
//! is told of with the reason in its record.

use std::{sync::Arc, time::Duration};

use banger_proto::guest::v1::agent_service_client::AgentServiceClient;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status};

use super::{
    ExecError, VmQueryError,
    exec_wire::is_broken,
    http2::{Http2Client, origin},
    in_words,
    monitor_call::reach,
    supervisor::Host,
};
use crate::domain::{Selector, Vm, VmId, VmName, VmState};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;

/// The calls of an agent.
pub(super) type Client = AgentServiceClient<Http2Client>;

/// The agent of a VM that runs, or did when it was looked up.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) host: Arc<Host>,
    pub(super) name: VmName,
    vm: VmId,
    boot_id: Option<String>,
}

/// A call that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The agent refused it.
    Refused(Status),
    /// It did not reach the agent.
    Unreached(ExecError),
}

impl Agent {
    /// The agent of a running VM.
    pub(super) async fn find(
        host: &Arc<Host>,
        selector: &Selector,
    ) -> Result<(Self, Vm), ExecError> {
        let vm = host.find(selector).await?;
        if vm.state != VmState::Running {
            return Err(ExecError::NotRunning {
                name: vm.name,
                state: vm.state,
            });
        }
        if !vm.spec.boot_mode.has_agent() {
            return Err(ExecError::NoAgent { name: vm.name });
        }
        let agent = Self {
            host: Arc::clone(host),
            name: vm.name.clone(),
            vm: vm.id,
            boot_id: vm.boot_id.clone(),
        };
        Ok((agent, vm))
    }

    /// Makes a call until the agent answers it.
    pub(super) async fn call<T, F>(
        &self,
        patience: Duration,
        call: impl Fn(Client) -> F + Sync,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>> + Send,
        T: Send,
    {
        let end = Instant::now() + patience;
        loop {
            let problem = match timeout_at(end, self.attempt(&call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Attempt::Refused(status))) => return Err(Failure::Refused(status)),
                Ok(Err(Attempt::Broken(problem))) => problem,
                Err(_) => format!("its agent did not answer within {patience:?}"),
            };
            self.check().await.map_err(Failure::Unreached)?;
            if end <= Instant::now() {
                return Err(Failure::Unreached(self.lost(problem)));
            }
            sleep(PAUSE).await;
        }
    }

    /// What a refusal means that has no other meaning to the caller.
    pub(super) fn refusal(&self, status: &Status) -> ExecError {
        match status.code() {
            Code::Unimplemented => ExecError::Outdated {
                name: self.name.clone(),
            },
            _ => self.broken(status.message()),
        }
    }

    /// The agent does what it must not.
    pub(super) fn broken(&self, problem: &str) -> ExecError {
        ExecError::Agent {
            name: self.name.clone(),
            problem: problem.to_owned(),
        }
    }

    async fn attempt<T, F>(&self, call: &(impl Fn(Client) -> F + Sync)) -> Result<T, Attempt>
    where
        F: Future<Output = Result<T, Status>> + Send,
    {
        let socket = self.host.files(self.vm).socket();
        let client = reach(&socket, &self.host.tasks).await;
        let client = client.map_err(|error| Attempt::Broken(in_words(&error)))?;
        let agent = AgentServiceClient::with_origin(client, origin())
            .max_decoding_message_size(MESSAGE_LIMIT);
        call(agent).await.map_err(|status| {
            if is_broken(&status) {
                Attempt::Broken(in_words(&status))
            } else {
                Attempt::Refused(status)
            }
        })
    }

    /// Fails when the VM's record says that this boot is over.
    async fn check(&self) -> Result<(), ExecError> {
        let id = Selector::from(self.vm.to_string().as_str());
        let vm = match self.host.find(&id).await {
            Ok(vm) => vm,
            Err(VmQueryError::NotFound { .. }) => return Err(self.removed().await),
            Err(error) => return Err(error.into()),
        };
        let goes_on = match vm.state {
            VmState::Running | VmState::Paused => vm.boot_id == self.boot_id,
            // how it ends is told by its record when it has
            state => state == VmState::Stopping,
        };
        if goes_on {
            return Ok(());
        }
        Err(self.lost(match vm.state {
            VmState::Running | VmState::Paused | VmState::Starting => {
                "it was started anew".to_owned()
            }
            _ => vm.reason,
        }))
    }

    /// The end of a VM that is gone.
    async fn removed(&self) -> ExecError {
        let last = self.host.store().last_vm_change(self.vm).await;
        let reason = last.ok().flatten().map(|change| change.reason);
        self.lost(reason.unwrap_or_else(|| "it was removed".to_owned()))
    }

    fn lost(&self, problem: String) -> ExecError {
        ExecError::VmLost {
            name: self.name.clone(),
            problem,
        }
    }
}

/// How one try failed.
enum Attempt {
    Refused(Status),
    Broken(String),
}
