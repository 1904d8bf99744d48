//! Exit statuses.
//!
//! Purpose: the one map from kinds of failure to exit statuses; the table in
//! `docs/exit-codes.md` is [`TABLE`]. Invariants: no wildcard arm, so that a
//! new kind cannot get a status by accident; only a guest command's status
//! ever takes the place of banger's own. Entry points: [`of_error`], [`TABLE`].

use banger_core::{
    ErrorKind,
    vm::{BootFailure, ExecError, SpawnFailure, StartVmError},
};

use crate::{error::CliError, signals::HostSignal};

/// Everything worked.
pub const SUCCESS: u8 = 0;
/// What `image diff` answers when the disks differ, as diff(1) does.
pub const DIFFERENT: u8 = 1;
/// What `vm wait` answers for a VM that failed.
pub const VM_FAILED: u8 = 1;
/// A fault of banger or its host.
pub const INTERNAL: u8 = 1;
/// The command line, configuration or request is wrong.
pub const USAGE: u8 = 2;
/// An object does not exist.
pub const NOT_FOUND: u8 = 3;
/// An object exists already, or its state does not allow the operation.
pub const CONFLICT: u8 = 4;
/// Credentials or permission are missing.
pub const NOT_PERMITTED: u8 = 5;
/// A peer cannot be reached, or a deadline passed.
pub const UNAVAILABLE: u8 = 6;
/// Memory, disk or a limit ran out.
pub const EXHAUSTED: u8 = 7;
/// Data is damaged.
pub const CORRUPT: u8 = 8;
/// The host or banger lacks what is needed.
pub const UNSUPPORTED: u8 = 9;
/// What `doctor` answers when a check failed: the host lacks what is needed.
pub const UNFIT: u8 = UNSUPPORTED;
/// `vm exec`: the command's time was up, as of timeout(1).
pub const TIMED_OUT: u8 = 124;
/// `vm run` and `vm exec`: banger itself failed.
pub const RUN_FAILED: u8 = 125;
/// `vm run` and `vm exec`: the command cannot be started.
pub const NOT_EXECUTABLE: u8 = 126;
/// `vm run` and `vm exec`: the command does not exist in the guest.
pub const COMMAND_NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended the program or the command.
pub const SIGNAL_BASE: u8 = 128;
/// The reader of standard output went away while a guest command wrote to it.
pub const OUTPUT_CLOSED: u8 = SIGNAL_BASE + 13;

/// Every status, what it means, and which kinds have it.
pub const TABLE: &[(u8, &str, &[ErrorKind])] = &[
    (SUCCESS, "success", &[]),
    (INTERNAL, "internal error", &[ErrorKind::Internal]),
    (
        USAGE,
        "wrong usage, configuration or request",
        &[ErrorKind::InvalidInput],
    ),
    (
        NOT_FOUND,
        "the object does not exist",
        &[ErrorKind::NotFound],
    ),
    (
        CONFLICT,
        "the object exists already, or its state does not allow the operation",
        &[ErrorKind::AlreadyExists, ErrorKind::Conflict],
    ),
    (
        NOT_PERMITTED,
        "credentials or permission are missing",
        &[ErrorKind::Unauthenticated, ErrorKind::PermissionDenied],
    ),
    (
        UNAVAILABLE,
        "a peer cannot be reached, or a deadline passed",
        &[ErrorKind::Unavailable, ErrorKind::Timeout],
    ),
    (
        EXHAUSTED,
        "memory, disk or a limit ran out",
        &[ErrorKind::ResourceExhausted],
    ),
    (CORRUPT, "data is damaged", &[ErrorKind::Corrupt]),
    (
        UNSUPPORTED,
        "the host or banger lacks what is needed",
        &[ErrorKind::Unsupported],
    ),
    (
        SIGNAL_BASE + 2,
        "given up by the user (SIGINT)",
        &[ErrorKind::Cancelled],
    ),
];

/// Whose status a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// banger's own.
    Own,
    /// A guest command's: banger's own failures are set apart.
    Guest,
}

/// The status of a kind of failure.
#[must_use]
pub const fn of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Internal => INTERNAL,
        ErrorKind::InvalidInput => USAGE,
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::Conflict => CONFLICT,
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => NOT_PERMITTED,
        ErrorKind::Unavailable | ErrorKind::Timeout => UNAVAILABLE,
        ErrorKind::ResourceExhausted => EXHAUSTED,
        ErrorKind::Corrupt => CORRUPT,
        ErrorKind::Unsupported => UNSUPPORTED,
        ErrorKind::Cancelled => SIGNAL_BASE + 2,
    }
}

/// The status of a signal that ended banger.
#[must_use]
pub const fn of_signal(signal: HostSignal) -> u8 {
    SIGNAL_BASE + signal.number()
}

/// The status of a failure.
#[must_use]
pub fn of_error(error: &CliError, surface: Surface) -> u8 {
    match (error, surface) {
        (CliError::Interrupted(signal), _) => of_signal(*signal),
        (CliError::Usage { .. } | CliError::NotATerminal, _) => USAGE,
        (CliError::Exec(error), Surface::Guest) => of_exec(error),
        (CliError::StartVm(error), Surface::Guest) => of_start(error),
        (_, Surface::Guest) => RUN_FAILED,
        (error, Surface::Own) => of_kind(error.kind()),
    }
}

const fn of_exec(error: &ExecError) -> u8 {
    match error {
        ExecError::Spawn {
            failure: SpawnFailure::NotFound,
            ..
        } => COMMAND_NOT_FOUND,
        ExecError::Spawn { .. } => NOT_EXECUTABLE,
        _ => RUN_FAILED,
    }
}

/// A VM's own command that cannot be run has the statuses of others.
const fn of_start(error: &StartVmError) -> u8 {
    match error {
        StartVmError::BootFailed {
            failure: BootFailure::CommandNotFound,
            ..
        } => COMMAND_NOT_FOUND,
        StartVmError::BootFailed {
            failure: BootFailure::CommandNotExecutable | BootFailure::CommandInvalid,
            ..
        } => NOT_EXECUTABLE,
        _ => RUN_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_map_agree() {
        for (status, _, kinds) in TABLE {
            for kind in *kinds {
                assert_eq!(of_kind(*kind), *status, "{kind:?}");
            }
        }
        let listed: usize = TABLE.iter().map(|(_, _, kinds)| kinds.len()).sum();
        assert_eq!(listed, ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            let rows = TABLE.iter().filter(|(_, _, kinds)| kinds.contains(&kind));
            assert_eq!(rows.count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let document = include_str!("../../docs/exit-codes.md");
        for (status, meaning, kinds) in TABLE {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind:?}`")).collect();
            let row = format!("| {status} | {meaning} | {} |\n", kinds.join(", "));
            assert!(document.contains(&row), "docs/exit-codes.md lacks: {row}");
        }
    }

    #[test]
    fn a_command_whose_time_was_up_has_the_status_of_timeout() {
        use banger_core::vm::ExecExit;
        assert_eq!(ExecExit::TimedOut.shell_status(), TIMED_OUT);
        assert_eq!(ExecExit::OutOfMemory.shell_status(), SIGNAL_BASE + 9);
    }

    #[test]
    fn guest_commands_have_statuses_of_their_own() {
        let spawn = |failure| {
            CliError::from(ExecError::Spawn {
                program: "x".into(),
                failure,
                message: "m".into(),
            })
        };
        let boot = |failure| {
            CliError::from(StartVmError::BootFailed {
                name: "v".parse().unwrap(),
                failure,
                stage: "command".into(),
                cause: "c".into(),
                console_tail: String::new(),
            })
        };
        let usage = CliError::usage("wrong");
        let cases = [
            (spawn(SpawnFailure::NotFound), 127, NOT_FOUND),
            (spawn(SpawnFailure::NotExecutable), 126, NOT_PERMITTED),
            (spawn(SpawnFailure::UnknownUser), 126, USAGE),
            (CliError::from(ExecError::NoCommand), 125, USAGE),
            (boot(BootFailure::CommandNotFound), 127, NOT_FOUND),
            (boot(BootFailure::CommandNotExecutable), 126, NOT_PERMITTED),
            (boot(BootFailure::OutOfMemory), 125, EXHAUSTED),
            (CliError::NoKernel, 125, NOT_FOUND),
            (CliError::Interrupted(HostSignal::Terminate), 143, 143),
            (usage, 2, 2),
        ];
        for (error, guest, own) in cases {
            assert_eq!(of_error(&error, Surface::Guest), guest, "{error:?}");
            assert_eq!(of_error(&error, Surface::Own), own, "{error:?}");
        }
    }
}
