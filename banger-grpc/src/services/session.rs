//! `SessionService`.

use std::time::Duration;

use banger_api::{
    choices,
    v1::{
        self, EndSessionRequest, EndSessionResponse, ErrorReason, GetSessionRequest,
        GetSessionResponse, KeepSessionRequest, KeepSessionResponse, LeaseExpiry,
        session_service_server::SessionService,
    },
};
use banger_core::domain::{GrantedLease, Lease, OnExpiry, Session, SessionName};
use tonic::{Request, Response, Status};

use crate::{
    backend::{Front, Hub},
    caller::Caller,
    convert::session::session,
    fault::{Fault, session_not_found, session_over},
    request::{Checks, caller, name::SESSIONS},
};

/// How long a session lives at least and at most.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_hours(24);
/// How long one lives of which nothing is said.
const USUAL: Duration = Duration::from_mins(1);

/// Over the sessions of the server's clients.
#[derive(Debug)]
pub(crate) struct Sessions(pub(crate) Front);

/// The caller's session, which may be over.
async fn find(hub: &Hub, caller: &Caller, name: &str) -> Result<Session, Fault> {
    let mut checks = Checks::default();
    let key = SESSIONS.id("name", name, &mut checks).unwrap_or_default();
    checks.finish()?;
    let found = hub.backend.store.session(caller.identity(), key).await?;
    found.ok_or_else(|| session_not_found(name))
}

/// The id of the caller's session that a machine is to be made in.
pub(super) async fn settled(hub: &Hub, caller: &Caller, name: &str) -> Result<String, Fault> {
    let session = find(hub, caller, name).await?;
    if session.is_over(&hub.backend.clock.moment()) {
        return Err(session_over(&session));
    }
    Ok(SESSIONS.name(session.id))
}

/// What is asked of a session.
struct Asked {
    name: Option<SessionName>,
    time_to_live: Option<Duration>,
    on_expiry: Option<OnExpiry>,
}

impl Asked {
    fn parse(request: &KeepSessionRequest, checks: &mut Checks) -> Self {
        let name = SESSIONS.id("name", &request.name, checks);
        let name = name.and_then(|id| checks.parse("name", id));
        let time_to_live = checks.duration("time_to_live", request.time_to_live);
        if time_to_live.is_some_and(|wanted| !(LEAST..=MOST).contains(&wanted)) {
            checks.violated("time_to_live", "is not between 1 second and 24 hours");
        }
        let on_expiry = match LeaseExpiry::try_from(request.on_expiry) {
            Ok(choice) => choices::on_expiry_of(choice),
            Err(_) => checks.unknown("on_expiry", request.on_expiry),
        };
        Self {
            name,
            time_to_live,
            on_expiry,
        }
    }

    fn lease(&self, before: Option<&Lease>) -> Lease {
        let life = before.and_then(|lease| lease.max_lifetime);
        let end = before.map(|lease| lease.on_expiry);
        Lease {
            max_lifetime: self.time_to_live.or(life).or(Some(USUAL)),
            idle_timeout: None,
            on_expiry: self.on_expiry.or(end).unwrap_or(OnExpiry::Delete),
        }
    }
}

impl Sessions {
    async fn keep(&self, request: Request<KeepSessionRequest>) -> Result<v1::Session, Fault> {
        let (hub, _acting) = self.0.acting()?;
        let mut checks = Checks::default();
        let asked = Asked::parse(request.get_ref(), &mut checks);
        checks.finish()?;
        let name = asked.name.clone();
        let name = name.ok_or_else(|| Fault::new(ErrorReason::InvalidRequest, "no name"))?;
        let now = hub.backend.clock.moment();
        let kept = hub
            .backend
            .store
            .keep_session(caller(&request).identity(), &name, &now, |before| {
                GrantedLease {
                    lease: asked.lease(before.map(|granted| &granted.lease)),
                    granted: now.clone(),
                }
            })
            .await?;
        if kept.is_over(&now) {
            return Err(session_over(&kept));
        }
        Ok(session(&kept))
    }

    async fn end(&self, request: Request<EndSessionRequest>) -> Result<v1::Session, Fault> {
        let (hub, _acting) = self.0.acting()?;
        let (caller, name) = (caller(&request), &request.get_ref().name);
        let found = find(hub, &caller, name).await?;
        let now = hub.backend.clock.now();
        hub.backend.store.end_session(found.id, now).await?;
        Ok(session(&find(hub, &caller, name).await?))
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn keep_session(
        &self,
        request: Request<KeepSessionRequest>,
    ) -> Result<Response<KeepSessionResponse>, Status> {
        let session = Some(self.keep(request).await?);
        Ok(Response::new(KeepSessionResponse { session }))
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let hub = self.0.reading()?;
        let found = find(hub, &caller(&request), &request.get_ref().name).await?;
        let session = Some(session(&found));
        Ok(Response::new(GetSessionResponse { session }))
    }

    async fn end_session(
        &self,
        request: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        let session = Some(self.end(request).await?);
        Ok(Response::new(EndSessionResponse { session }))
    }
}
