//! What a user can do about what a service said.

use std::error::Error;

use banger_core::{ErrorKind, remote::RemoteError};

use super::{
    CliError,
    hint::{LIST_IMAGES, LIST_KERNELS, too_small},
};

/// Whether there is nothing at all; else the words tell what there is.
fn is_nowhere(said: &RemoteError) -> bool {
    let mut last: &dyn Error = said;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string().ends_with(" does not exist")
}

/// What would help, if it was a service that said so.
pub(super) fn of(error: &CliError) -> Option<String> {
    let said = error.said()?;
    if let (CliError::Pull(_), Some(needed)) = (error, said.fact("needed_mib")) {
        return Some(too_small(needed));
    }
    let text = match said.reason() {
        Some("VM_NOT_FOUND") => "`banger vm list` shows the VMs",
        Some("IMAGE_NOT_FOUND") => LIST_IMAGES,
        Some("KERNEL_NOT_FOUND") => LIST_KERNELS,
        Some("OBJECT_NOT_FOUND") if matches!(error, CliError::Pull(_)) && is_nowhere(said) => {
            "check the spelling and the tag"
        }
        Some("IMAGE_IN_USE") => {
            "delete what uses it: `banger vm list` and `banger snapshot list` show it"
        }
        Some("PEER_UNAUTHENTICATED") => {
            "sign in where the service runs, with `docker login` or `podman login`"
        }
        Some("CALLER_UNAUTHENTICATED") => {
            "give a token with --token-file or BANGER_TOKEN, or a certificate with --tls-cert and \
             --tls-key"
        }
        None if said.kind() == ErrorKind::Unsupported => "`--endpoint local` does it on this host",
        None if matches!(error, CliError::Service(_)) && said.kind() == ErrorKind::Unavailable => {
            "start it: `bangerd`; or work on this host: `--endpoint local`"
        }
        _ => return None,
    };
    Some(text.to_owned())
}
