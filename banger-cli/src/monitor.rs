//! `banger __monitor …`: this program as a VM's monitor.
//!
//! The verb is the library's own and no part of the command line: it is
//! recognised before anything else, because a monitor runs on the process's
//! main thread, in a runtime of its own.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use banger_core::vm::monitor::{self, MonitorArguments};

use crate::{environment, exit, start_log};

/// The hidden verb.
pub(crate) const VERB: &str = "__monitor";

/// The monitor's arguments, when this process is to be one.
#[must_use]
pub(crate) fn arguments(arguments: &[OsString]) -> Option<&[OsString]> {
    match arguments {
        [_program, verb, rest @ ..] if verb == VERB => Some(rest),
        _ => None,
    }
}

/// Is a monitor until its VM has ended.
#[must_use]
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let words = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    match MonitorArguments::parse(words) {
        Ok(arguments) => {
            // into the VM's monitor.log, which is its standard error
            start_log(environment::log_filter().as_deref());
            monitor::run(&arguments)
        }
        Err(error) => {
            // there is nobody left to tell
            let _unseen = writeln!(io::stderr(), "banger: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}
