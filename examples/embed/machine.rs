//! One machine, for one command.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use banger_core::{
    domain::{Bytes, ImageId, Selector},
    progress::NoProgress,
    vm::{CreateVm, ExecControl, ExecEvent, ExecRequest, Lifetime, VmSupervisor},
};

use crate::Result;

/// What the machine is given to shut down in.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command in a new machine, which is gone afterwards. Should this
/// process be killed meanwhile, the lifelines it holds end the machine.
pub(crate) async fn run_command(
    vms: &dyn VmSupervisor,
    image: ImageId,
    argv: Vec<String>,
) -> Result<u8> {
    let lifetime = Lifetime::BoundToCaller;
    let created = vms.create(request(image), lifetime, &NoProgress).await?;
    let vm = Selector::from(created.vm.id.to_string().as_str());
    let started = match vms.start(&vm, lifetime, &NoProgress).await {
        Ok(started) => started,
        Err(error) => {
            vms.delete(&vm, true).await?;
            return Err(error.into());
        }
    };
    let status = exec(vms, &vm, argv).await;
    vms.stop(&vm, GRACE).await?;
    drop(started);
    status
}

fn request(image: ImageId) -> CreateVm {
    CreateVm {
        memory: Bytes::from_mib(256),
        // sparse: it takes what is written
        disk_size: Bytes::from_mib(1024),
        remove_on_stop: true,
        ..CreateVm::new(Selector::from(image.to_string().as_str()))
    }
}

/// Runs the command without input, and passes its output and status on.
async fn exec(vms: &dyn VmSupervisor, vm: &Selector, argv: Vec<String>) -> Result<u8> {
    let request = ExecRequest {
        argv,
        ..ExecRequest::default()
    };
    let mut session = vms.exec(vm, request).await?;
    session.control.send(ExecControl::CloseStdin).await?;
    while let Some(event) = session.events.recv().await {
        match event? {
            ExecEvent::Stdout(bytes) => io::stdout().write_all(&bytes)?,
            ExecEvent::Stderr(bytes) => io::stderr().write_all(&bytes)?,
            // only what joins a command later can miss output
            ExecEvent::Truncated { .. } => {}
            ExecEvent::Exit(exit) => {
                io::stdout().flush()?;
                return Ok(exit.shell_status());
            }
        }
    }
    Err(io::Error::other("the command ended without an exit status").into())
}
