//! Who is let in, and to what.
//!
//! Purpose: the one place that makes callers of connections and headers, and that
//! compares what they may with what they ask for. Invariants: it is decided by the
//! method's path and the credentials alone, before a byte of the request is read;
//! whoever has no valid credentials gets one answer, whatever is wrong with them.
//! Entry points: `Gate`.

pub mod credentials;
pub(crate) mod methods;

use std::{pin::Pin, sync::Arc};

use banger_api::v1::ErrorReason;
use http::{HeaderMap, header::AUTHORIZATION};

use crate::{
    caller::{Caller, Scope},
    fault::Fault,
    transport::{connection::Peer, security::Security},
};

use methods::{Method, Methods, Need};

/// What the header with a token begins with (RFC 6750); case does not matter.
const BEARER: &str = "bearer ";

/// Lets calls in.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) methods: Methods,
    security: Arc<Security>,
}

impl Gate {
    pub(crate) fn new(security: Arc<Security>) -> Self {
        Self {
            methods: Methods::of_the_api(),
            security,
        }
    }

    /// Who calls that method, if they may.
    pub(crate) fn admit(
        &self,
        method: Option<&Method>,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Caller, Fault> {
        let caller = self.caller(headers, peer);
        // a method that is not there needs what the least of those needs that are
        let need = method.map_or(Need::Credentials, |method| method.need);
        match (need, caller) {
            (Need::Nothing, caller) => Ok(caller.unwrap_or_else(Caller::nobody)),
            (_, None) => Err(unauthenticated()),
            (Need::Credentials, Some(caller)) => Ok(caller),
            (Need::OneOf(scopes), Some(caller)) if caller.may(scopes) => Ok(caller),
            (Need::OneOf(_), Some(_)) => Err(out_of_scope()),
        }
    }

    /// Tells when a caller's credentials are not what they were; none where they do not
    /// change.
    pub(crate) fn revoked(&self, caller: &Caller) -> Option<Revoked> {
        if !caller.is_listed() {
            return None;
        }
        let (security, caller) = (Arc::clone(&self.security), caller.clone());
        let mut changes = security.changes();
        Some(Box::pin(async move {
            while security.credentials().still_has(&caller) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
            unauthenticated()
        }))
    }

    /// Whose credentials these are. A token that is sent decides alone, over every
    /// transport: whoever claims to be somebody is that or nobody.
    fn caller(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Caller> {
        let credentials = self.security.credentials();
        let mut claims = headers.get_all(AUTHORIZATION).iter();
        if let Some(claim) = claims.next() {
            let token = token(claim.as_bytes()).filter(|_| claims.next().is_none())?;
            return credentials.of_token(token);
        }
        match peer? {
            Peer::Local { uid } => Some(Caller::local(*uid)),
            Peer::Remote { certificate } => credentials.of_certificate(certificate.as_deref()?),
        }
    }
}

/// Is ready, with what its client is told, when a caller is not known any more.
pub(crate) type Revoked = Pin<Box<dyn Future<Output = Fault> + Send>>;

fn token(header: &[u8]) -> Option<&[u8]> {
    let (kind, token) = header.split_at_checked(BEARER.len())?;
    kind.eq_ignore_ascii_case(BEARER.as_bytes())
        .then_some(token)
}

fn unauthenticated() -> Fault {
    let message = "the call has no credentials that this server knows";
    Fault::new(ErrorReason::CallerUnauthenticated, message)
}

fn out_of_scope() -> Fault {
    let message = "the scopes of the caller do not include this method";
    Fault::new(ErrorReason::OutOfScope, message)
}

/// What a machine runs for.
pub(crate) fn check_machines(caller: &Caller) -> Result<(), Fault> {
    if caller.may(&[Scope::OwnVms]) {
        return Ok(());
    }
    let message = "what runs in a machine is taken from callers with the scope vms:own";
    Err(Fault::new(ErrorReason::OutOfScope, message))
}

/// What the host's own files are taken from, which only the host's own users may name.
pub(crate) fn check_host_files(caller: &Caller, names_host_file: bool) -> Result<(), Fault> {
    if names_host_file && !caller.is_admin() {
        let message = "paths of the server's host are taken from callers with the scope admin";
        return Err(Fault::new(ErrorReason::OutOfScope, message));
    }
    Ok(())
}
