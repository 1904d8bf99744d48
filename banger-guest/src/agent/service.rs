//! The methods of `AgentService`.

use std::{path::Path, sync::Arc, time::Duration};

use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{
        AttachExecRequest, CreateExecRequest, CreateExecResponse, DeleteExecRequest,
        DeleteExecResponse, HelloRequest, HelloResponse, ListExecsRequest, ListExecsResponse,
        PowerOffRequest, PowerOffResponse, agent_service_server::AgentService,
    },
};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::{
    HostTime, clock, entropy,
    exec::{self, Sessions},
};
use crate::{console, files};

/// Where the kernel tells this boot's id.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The service on one connection. What clones share outlives it.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    sessions: Sessions,
    /// Owns the calls of this connection.
    calls: TaskTracker,
    host_time: HostTime,
    began_after: Duration,
    ready_after: Duration,
    power_off: Arc<Notify>,
}

impl Agent {
    /// An agent that is ready now, of a program that began so long after the
    /// kernel. Processes become tasks of `tasks`.
    pub(super) fn new(tasks: TaskTracker, host_time: HostTime, began_after: Duration) -> Self {
        Self {
            sessions: Sessions::new(tasks),
            calls: TaskTracker::new(),
            host_time,
            began_after,
            ready_after: clock::since_boot(),
            power_off: Arc::default(),
        }
    }

    /// The same agent on another connection, whose calls are tasks of `calls`.
    pub(super) fn on(&self, calls: TaskTracker) -> Self {
        Self {
            calls,
            ..self.clone()
        }
    }

    /// The processes that run for the host.
    pub(super) const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Is notified when the host asks for power-off.
    pub(super) fn power_off(&self) -> Arc<Notify> {
        Arc::clone(&self.power_off)
    }

    /// Takes over what the machine is to have of its host.
    fn take_from(&self, host: &HelloRequest) {
        if self.host_time == HostTime::Ignore {
            return;
        }
        if let Err(error) = clock::adopt(Duration::from_nanos(host.unix_time_nanos)) {
            console::line(format_args!("cannot set the clock: {error}"));
        }
        if let Err(error) = entropy::adopt(&host.entropy) {
            console::line(format_args!("cannot take the host's entropy: {error}"));
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl AgentService for Agent {
    type AttachExecStream = exec::Responses;

    async fn hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        let host = request.into_inner();
        if host.generation == 0 {
            return Err(Status::failed_precondition(
                "the host names no protocol generation",
            ));
        }
        self.take_from(&host);
        let boot_id = files::read(Path::new(BOOT_ID)).unwrap_or_default();
        Ok(Response::new(HelloResponse {
            generation: GUEST_GENERATION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: String::from_utf8_lossy(boot_id.trim_ascii()).into_owned(),
            ready_after_nanos: nanoseconds(self.ready_after),
            began_after_nanos: nanoseconds(self.began_after),
        }))
    }

    async fn create_exec(
        &self,
        request: Request<CreateExecRequest>,
    ) -> Result<Response<CreateExecResponse>, Status> {
        let pid = self.sessions.create(request.into_inner()).await?;
        Ok(Response::new(CreateExecResponse { pid }))
    }

    async fn attach_exec(
        &self,
        request: Request<Streaming<AttachExecRequest>>,
    ) -> Result<Response<Self::AttachExecStream>, Status> {
        let responses = exec::attach(&self.sessions, request.into_inner(), &self.calls).await?;
        Ok(Response::new(responses))
    }

    async fn list_execs(
        &self,
        _: Request<ListExecsRequest>,
    ) -> Result<Response<ListExecsResponse>, Status> {
        let execs = self.sessions.list();
        Ok(Response::new(ListExecsResponse { execs }))
    }

    async fn delete_exec(
        &self,
        request: Request<DeleteExecRequest>,
    ) -> Result<Response<DeleteExecResponse>, Status> {
        let existed = self.sessions.delete(&request.get_ref().exec_id).await;
        Ok(Response::new(DeleteExecResponse { existed }))
    }

    async fn power_off(
        &self,
        _: Request<PowerOffRequest>,
    ) -> Result<Response<PowerOffResponse>, Status> {
        self.power_off.notify_one();
        Ok(Response::new(PowerOffResponse {}))
    }
}
