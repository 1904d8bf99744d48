//! The host of a server.

use std::borrow::Cow;

use async_trait::async_trait;
use banger_api::v1::{DiagnosticCheck, DiagnosticStatus, RunDiagnosticsRequest};
use banger_core::{
    diagnostics::{Check, CheckStatus, Doctor},
    remote::RemoteError,
};

use super::Server;

#[derive(Debug)]
pub(super) struct RemoteDoctor(pub(super) Server);

#[async_trait]
impl Doctor for RemoteDoctor {
    async fn diagnose(&self) -> Result<Vec<Check>, RemoteError> {
        let answer = self.0.read(|| {
            let mut system = self.0.client.system();
            async move { system.run_diagnostics(RunDiagnosticsRequest {}).await }
        });
        let answer = answer.await.map_err(RemoteError::from)?;
        Ok(answer.checks.into_iter().map(check).collect())
    }
}

/// A check whose outcome is not understood is one to look at.
fn check(check: DiagnosticCheck) -> Check {
    let status = match check.status() {
        DiagnosticStatus::Ok => CheckStatus::Ok,
        DiagnosticStatus::Failed => CheckStatus::Failed,
        DiagnosticStatus::Skipped => CheckStatus::Skipped,
        DiagnosticStatus::Warning | DiagnosticStatus::Unspecified => CheckStatus::Warning,
    };
    Check {
        id: Cow::Owned(check.id),
        status,
        found: check.found,
        advice: (!check.advice.is_empty()).then_some(check.advice),
    }
}
