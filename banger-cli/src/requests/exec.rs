//! Requests about commands in running VMs.

use std::time::Duration;

use banger_core::{
    domain::Selector,
    vm::{ExecId, ExecRequest, OnFull, WhenDetached},
};

use super::{ProcessRequest, Task, vm};
use crate::{
    args::{AttachArgs, ExecArgs, ShellArgs},
    session::Attachment,
};

/// What `vm attach` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// The session.
    pub exec: ExecId,
    /// The offset of the first byte of output that is wanted.
    pub offset: u64,
    /// Pass standard input on.
    pub interactive: bool,
}

pub(super) fn exec(args: ExecArgs) -> Task {
    let vm = Selector::from(args.vm.as_str());
    let mut process = vm::process(args.process, args.command);
    process.exec.id = args.id;
    process.exec.timeout = args.timeout.map(Duration::from_secs);
    if args.keep || args.detach {
        process.exec.when_detached = WhenDetached::Keep;
    }
    if !args.detach {
        return Task::Exec(vm, process);
    }
    let on_full = if args.keep {
        OnFull::Wait
    } else {
        OnFull::DropOldest
    };
    let exec = ExecRequest {
        on_full,
        without_stdin: true,
        ..process.exec
    };
    Task::ExecDetached(vm, exec)
}

pub(super) fn attach(args: &AttachArgs) -> Task {
    let request = AttachRequest {
        exec: args.exec.clone(),
        offset: args.offset,
        interactive: args.interactive,
    };
    Task::Attach(Selector::from(args.vm.as_str()), request)
}

pub(super) fn shell(args: ShellArgs) -> Task {
    let process = ProcessRequest {
        exec: ExecRequest {
            env: args.env,
            working_directory: args.workdir,
            user: args.user,
            login_shell: true,
            ..ExecRequest::default()
        },
        attachment: Attachment {
            interactive: true,
            terminal: true,
        },
    };
    Task::Exec(Selector::from(args.vm.as_str()), process)
}
