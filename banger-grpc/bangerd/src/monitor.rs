//! `bangerd __monitor …`: this program as a VM's monitor, as of the `banger`
//! command. It is recognised before anything else, because a monitor runs on the
//! process's main thread, in a runtime of its own.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use banger_cli::exit;
use banger_core::vm::monitor::{self, MonitorArguments};

/// The hidden verb, the one that `banger_cli::services` has monitors started with.
const VERB: &str = "__monitor";

/// The monitor's arguments, when this process is to be one.
pub(crate) fn arguments(arguments: &[OsString]) -> Option<&[OsString]> {
    match arguments {
        [_program, verb, rest @ ..] if verb == VERB => Some(rest),
        _ => None,
    }
}

/// Is a monitor until its VM has ended.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let words = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    match MonitorArguments::parse(words) {
        Ok(arguments) => monitor::run(&arguments),
        Err(error) => {
            // there is nobody left to tell
            let _unseen = writeln!(io::stderr(), "bangerd: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}
