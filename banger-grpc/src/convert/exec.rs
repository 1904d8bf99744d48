//! Commands.

use banger_api::v1::{self, attach_exec_response::Message as Told, exit::Kind};
use banger_core::{
    domain::VmId,
    vm::{ExecEvent, ExecExit, ExecInfo, ExecRequest, OnFull, TerminalSize, WhenDetached},
};

use super::{
    duration,
    spec::{check_env, check_words},
};
use crate::request::{Checks, name::VMS};

/// What the core is to run; what is wrong with the request is noted in `checks`.
pub(crate) fn exec_request(request: v1::CreateExecRequest, checks: &mut Checks) -> ExecRequest {
    check_words("argv", &request.argv, checks);
    check_env("env", &request.env, checks);
    let given = |text: String| (!text.is_empty()).then_some(text);
    let terminal = request.terminal;
    ExecRequest {
        argv: request.argv,
        env: request.env,
        working_directory: given(request.working_directory),
        user: given(request.user),
        terminal: terminal.and_then(|size| terminal_size("terminal", size, checks)),
        login_shell: request.login_shell,
        // a UUID is a valid id of a command: the same request is the same command
        id: match request.exec_id.as_str() {
            "" => request.request_id.parse().ok(),
            id => checks.parse("exec_id", id),
        },
        timeout: checks.duration("timeout", request.timeout),
        on_full: if request.drop_oldest {
            OnFull::DropOldest
        } else {
            OnFull::Wait
        },
        when_detached: checks
            .duration("detached_grace", request.detached_grace)
            .map_or(WhenDetached::Keep, |grace| WhenDetached::Kill { grace }),
        without_stdin: request.without_stdin,
    }
}

pub(crate) fn terminal_size(
    field: &str,
    size: v1::TerminalSize,
    checks: &mut Checks,
) -> Option<TerminalSize> {
    let fits = |length: u32| u16::try_from(length).ok().filter(|length| *length != 0);
    let Some((rows, columns)) = fits(size.rows).zip(fits(size.columns)) else {
        checks.violated(field, "rows and columns are 1 to 65535");
        return None;
    };
    Some(TerminalSize { rows, columns })
}

pub(crate) fn exec(vm: VmId, info: &ExecInfo) -> v1::Exec {
    v1::Exec {
        name: format!("{}/execs/{}", VMS.name(vm), info.id),
        argv: info.argv.clone(),
        pid: info.pid,
        terminal: info.terminal,
        attached: info.attached,
        exit: info.exit.map(exit),
        first_offset: info.first_offset,
        end_offset: info.end_offset,
        age: duration(info.age),
    }
}

pub(crate) fn exit(exit: ExecExit) -> v1::Exit {
    let kind = match exit {
        ExecExit::Code(code) => Some(Kind::Code(code.into())),
        ExecExit::Signal(signal) => Some(Kind::Signal(signal.into())),
        ExecExit::TimedOut => Some(Kind::TimedOut(v1::TimedOut {})),
        ExecExit::OutOfMemory => Some(Kind::OutOfMemory(v1::OutOfMemory {})),
        _ => None,
    };
    v1::Exit { kind }
}

/// Output, or its lack; `end` is the offset after it.
pub(crate) fn output(event: ExecEvent, end: u64) -> Told {
    let (stream, data) = match event {
        ExecEvent::Stdout(data) => (v1::OutputStream::Stdout, data),
        ExecEvent::Stderr(data) => (v1::OutputStream::Stderr, data),
        ExecEvent::Truncated { from, to } => return Told::Truncated(v1::Truncated { from, to }),
        ExecEvent::Exit(how) => return Told::Exit(exit(how)),
    };
    Told::Output(v1::Output {
        stream: stream.into(),
        offset: end.saturating_sub(data.len() as u64),
        data,
    })
}
