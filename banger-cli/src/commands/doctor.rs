//! `banger doctor`.

use banger_core::diagnostics::{CheckStatus, Doctor};

use crate::{
    console::Console,
    context::{self, Style},
    error::CliError,
    exit,
    output::{CheckOutput, check_lines},
};

/// Looks at the host and prints what was found, which needs no services of this
/// host. A check that failed is the command's result and no failure of its own.
pub async fn doctor(doctor: &dyn Doctor, console: &Console, style: Style) -> Result<u8, CliError> {
    let checks = doctor.diagnose().await;
    let checks = checks.map_err(|error| CliError::Service(Box::new(error)))?;
    let output: Vec<CheckOutput> = checks.iter().map(CheckOutput::from).collect();
    context::print(console, style, &output, || check_lines(&checks)).await?;
    let failed = checks
        .iter()
        .any(|check| check.status == CheckStatus::Failed);
    Ok(if failed { exit::UNFIT } else { exit::SUCCESS })
}
