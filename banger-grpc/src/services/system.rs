//! `SystemService`: what the server is.

use banger_api::v1::{
    GetCapacityRequest, GetCapacityResponse, GetServerInfoRequest, GetServerInfoResponse,
    ServerLimits, ServerPhase, system_service_server::SystemService,
};
use banger_core::domain::BackendKind;
use tonic::{Request, Response, Status};

use super::{NAMES, capacity::capacity};
use crate::{backend::Front, request::caller, server::Limits};

/// Says what the server is in every phase.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) front: Front,
    pub(crate) limits: Limits,
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
}
