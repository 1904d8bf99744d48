//! The guest protocol's words for commands, and ours. Pure.

use std::time::Duration;

use banger_proto::{
    SPAWN_FAILURE_METADATA,
    guest::v1::{self as wire, exec_exit::Outcome},
};
use tonic::{Code, Status};

use super::{
    ExecExit, ExecId, ExecInfo, ExecRequest, OnFull, SpawnFailure, TerminalSize, WhenDetached,
};

/// The session to start; the process is filled in already.
pub(super) fn create_request(
    id: &ExecId,
    start: wire::ExecStart,
    request: &ExecRequest,
) -> wire::CreateExecRequest {
    let (when_detached, grace) = match request.when_detached {
        WhenDetached::Kill { grace } => (wire::WhenDetached::Kill, grace),
        WhenDetached::Keep => (wire::WhenDetached::Keep, Duration::ZERO),
    };
    let on_full = match request.on_full {
        OnFull::Wait => wire::OnFull::Wait,
        OnFull::DropOldest => wire::OnFull::DropOldest,
    };
    wire::CreateExecRequest {
        exec_id: id.to_string(),
        start: Some(start),
        // no time at all is the shortest there is
        timeout_millis: request.timeout.map_or(0, |limit| millis(limit).max(1)),
        on_full: on_full.into(),
        when_detached: when_detached.into(),
        detach_grace_millis: millis(grace),
        without_stdin: request.without_stdin,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why a process was not started, when a status says that.
pub(super) fn spawn_failure(status: &Status) -> Option<SpawnFailure> {
    let value = status.metadata().get(SPAWN_FAILURE_METADATA)?;
    let number: i32 = value.to_str().ok()?.parse().ok()?;
    match wire::SpawnFailure::try_from(number).ok()? {
        wire::SpawnFailure::Unspecified => None,
        wire::SpawnFailure::NotFound => Some(SpawnFailure::NotFound),
        wire::SpawnFailure::NotExecutable => Some(SpawnFailure::NotExecutable),
        wire::SpawnFailure::BadWorkingDirectory => Some(SpawnFailure::BadWorkingDirectory),
        wire::SpawnFailure::UnknownUser => Some(SpawnFailure::UnknownUser),
        wire::SpawnFailure::InvalidRequest => Some(SpawnFailure::InvalidRequest),
        wire::SpawnFailure::Resources => Some(SpawnFailure::Resources),
    }
}

/// Whether a call failed because a connection did, not because of what it asks.
pub(super) fn is_broken(status: &Status) -> bool {
    // a status with a cause was made on this side, of a broken connection
    matches!(status.code(), Code::Unavailable | Code::Cancelled)
        || std::error::Error::source(status).is_some()
}

/// How a process ended; none when Linux knows no such end.
pub(super) fn exit_of(exit: wire::ExecExit) -> Option<ExecExit> {
    match exit.outcome? {
        Outcome::Code(code) => u8::try_from(code).ok().map(ExecExit::Code),
        Outcome::Signal(signal) => u8::try_from(signal).ok().map(ExecExit::Signal),
        Outcome::TimedOut(_) => Some(ExecExit::TimedOut),
        Outcome::OutOfMemory(_) => Some(ExecExit::OutOfMemory),
    }
}

/// A session; none when what the guest says of it makes no sense.
#[expect(
    clippy::needless_pass_by_value,
    reason = "an answer is taken apart once"
)]
pub(super) fn info_of(info: wire::ExecInfo) -> Option<ExecInfo> {
    let exit = match info.exit {
        Some(exit) => Some(exit_of(exit)?),
        None => None,
    };
    let argv = info.argv.iter();
    Some(ExecInfo {
        id: info.exec_id.parse().ok()?,
        argv: argv
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
        pid: info.pid,
        terminal: info.terminal,
        attached: info.attached,
        exit,
        first_offset: info.first_offset,
        end_offset: info.end_offset,
        age: Duration::from_millis(info.age_millis),
    })
}

pub(super) fn wire_size(size: TerminalSize) -> wire::TerminalSize {
    wire::TerminalSize {
        rows: size.rows.into(),
        columns: size.columns.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_terms_are_told() {
        let id = ExecId::generate();
        let told = |request| create_request(&id, wire::ExecStart::default(), &request);
        let usual = told(ExecRequest::default());
        assert_eq!(usual.when_detached(), wire::WhenDetached::Kill);
        assert_eq!(usual.on_full(), wire::OnFull::Wait);
        assert_eq!(
            (usual.timeout_millis, usual.detach_grace_millis),
            (0, 10_000)
        );
        let other = told(ExecRequest {
            timeout: Some(Duration::from_micros(1)),
            on_full: OnFull::DropOldest,
            when_detached: WhenDetached::Keep,
            without_stdin: true,
            ..ExecRequest::default()
        });
        assert_eq!(other.when_detached(), wire::WhenDetached::Keep);
        assert_eq!(other.on_full(), wire::OnFull::DropOldest);
        assert_eq!(other.timeout_millis, 1);
        assert!(other.without_stdin);
    }

    #[test]
    fn spawn_failures_and_broken_connections_are_told_apart() {
        let mut spawn = Status::not_found("no such program");
        let number = wire::SpawnFailure::NotFound as i32;
        spawn
            .metadata_mut()
            .insert(SPAWN_FAILURE_METADATA, number.into());
        assert_eq!(spawn_failure(&spawn), Some(SpawnFailure::NotFound));
        assert!(!is_broken(&spawn));
        assert!(is_broken(&Status::unavailable("gone")));
        let broken = Status::from_error(Box::new(std::io::Error::other("cut")));
        assert!(is_broken(&broken));
        assert!(!is_broken(&Status::internal("confused")));
    }

    #[test]
    fn exits_outside_linux_are_refused() {
        let exit = |outcome| exit_of(wire::ExecExit { outcome });
        assert_eq!(exit(Some(Outcome::Code(127))), Some(ExecExit::Code(127)));
        assert_eq!(exit(Some(Outcome::Signal(9))), Some(ExecExit::Signal(9)));
        let timed_out = Outcome::TimedOut(wire::ExecTimedOut {});
        assert_eq!(exit(Some(timed_out)), Some(ExecExit::TimedOut));
        let memory = Outcome::OutOfMemory(wire::ExecOutOfMemory {});
        assert_eq!(exit(Some(memory)), Some(ExecExit::OutOfMemory));
        assert_eq!(exit(Some(Outcome::Code(256))), None);
        assert_eq!(exit(None), None);
    }

    #[test]
    fn a_listing_believes_what_makes_sense() {
        let info = wire::ExecInfo {
            exec_id: "one".to_owned(),
            argv: vec![bytes::Bytes::from_static(b"a\xff")],
            ..wire::ExecInfo::default()
        };
        assert_eq!(info_of(info.clone()).unwrap().argv, ["a\u{fffd}"]);
        let nameless = wire::ExecInfo {
            exec_id: String::new(),
            ..info.clone()
        };
        assert_eq!(info_of(nameless), None);
        let endless = wire::ExecInfo {
            exit: Some(wire::ExecExit { outcome: None }),
            ..info
        };
        assert_eq!(info_of(endless), None);
    }
}
