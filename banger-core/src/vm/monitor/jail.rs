//! The user that a VMM's jail gets.

use super::{console_watch::Fault, record::Record};
use crate::{
    step::reached,
    vm::{BootFailure, in_words, launch::Launch},
};

/// Reserves the user of the jail in which a machine is to run, if it is.
pub(super) async fn reserve_user(launch: &Launch, record: &Record) -> Result<Option<u32>, Fault> {
    let Some(jail) = &launch.backend.jail else {
        return Ok(None);
    };
    let fault = |cause| Fault {
        failure: BootFailure::VmmNotStarted,
        stage: "jail".to_owned(),
        cause,
    };
    match record.reserve_jail_id(jail.ids).await {
        Ok(Some(id)) => {
            reached("reserved the user of a jail");
            Ok(Some(id))
        }
        Ok(None) => Err(fault(format!(
            "each of the users {} is that of a running VM",
            jail.ids
        ))),
        Err(error) => Err(fault(in_words(&error))),
    }
}
