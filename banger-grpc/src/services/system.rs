//! `SystemService`: what the server is, and whether it begins anything new.

use banger_api::v1::{
    DiagnosticCheck, DiagnosticStatus, DrainRequest, DrainResponse, GetCapacityRequest,
    GetCapacityResponse, GetServerInfoRequest, GetServerInfoResponse, RunDiagnosticsRequest,
    RunDiagnosticsResponse, ServerLimits, ServerPhase, system_service_server::SystemService,
};
use banger_core::{
    diagnostics::{Check, CheckStatus},
    domain::BackendKind,
};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::{NAMES, capacity::capacity};
use crate::{
    backend::Front,
    fault::Fault,
    request::{Checks, MAX_WAIT, caller},
    server::Limits,
};

/// Says what the server is in every phase.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) front: Front,
    pub(crate) limits: Limits,
    /// Held while the host is looked at: each look starts some programs.
    pub(crate) looking: Mutex<()>,
}

impl System {
    async fn stop_beginning(&self, request: DrainRequest) -> Result<DrainResponse, Fault> {
        let hub = self.front.reading()?;
        let mut checks = Checks::default();
        let wait = checks.duration("wait", request.wait).unwrap_or_default();
        checks.finish()?;
        self.front.phases.drain().await;
        let wait = wait.min(MAX_WAIT);
        let (operations, calls) = tokio::join!(hub.operations.finish(wait), self.front.acted(wait));
        tracing::info!(operations, calls, "draining: a caller asked for it");
        Ok(DrainResponse {
            operations: u32::try_from(operations).unwrap_or(u32::MAX),
            calls: u32::try_from(calls).unwrap_or(u32::MAX),
        })
    }

    async fn look(&self) -> Result<RunDiagnosticsResponse, Fault> {
        let hub = self.front.reading()?;
        let _looking = self.looking.lock().await;
        let checks = hub.backend.doctor.diagnose().await;
        let checks = checks.map_err(|error| Fault::of(error.kind(), &error))?;
        Ok(RunDiagnosticsResponse {
            checks: checks.into_iter().map(check).collect(),
        })
    }
}

fn check(check: Check) -> DiagnosticCheck {
    let status = match check.status {
        CheckStatus::Ok => DiagnosticStatus::Ok,
        CheckStatus::Warning => DiagnosticStatus::Warning,
        CheckStatus::Failed => DiagnosticStatus::Failed,
        CheckStatus::Skipped => DiagnosticStatus::Skipped,
    };
    DiagnosticCheck {
        id: check.id.into_owned(),
        status: status.into(),
        found: check.found,
        advice: check.advice.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl SystemService for System {
    async fn get_server_info(
        &self,
        _request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        let backends = BackendKind::ALL.map(|backend| backend.as_str().to_owned());
        Ok(Response::new(GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: ServerPhase::from(self.front.phases.now()).into(),
            services: NAMES.map(str::to_owned).to_vec(),
            backends: backends.to_vec(),
            guest_generation: banger_proto::GUEST_GENERATION,
            limits: Some(ServerLimits {
                max_request_bytes: self.limits.request_bytes as u64,
                max_response_bytes: self.limits.response_bytes as u64,
                max_calls_per_connection: self.limits.calls_per_connection,
            }),
        }))
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let hub = self.front.reading()?;
        Ok(Response::new(capacity(hub, &caller(&request)).await?))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        let drained = self.stop_beginning(request.into_inner());
        Ok(Response::new(drained.await?))
    }

    async fn run_diagnostics(
        &self,
        _request: Request<RunDiagnosticsRequest>,
    ) -> Result<Response<RunDiagnosticsResponse>, Status> {
        Ok(Response::new(self.look().await?))
    }
}
