//! `banger vm cp`.

use std::io;

use banger_core::{
    domain::Selector,
    vm::{
        Copied, CopyError, TreeEvent, TreeRead,
        copy::{CopyOptions, copy_in, copy_out, pack_out, unpack_in},
    },
};

use crate::{
    context::Context,
    error::CliError,
    output::CopiedOutput,
    requests::{CopyRequest, CopyWay},
    session::PipedInput,
    terminal::is_terminal,
};

pub(in crate::commands) async fn cp(
    context: &Context,
    request: CopyRequest,
) -> Result<(), CliError> {
    let vms = context.services.vms.as_ref();
    let CopyRequest { vm, way, options } = request;
    match way {
        CopyWay::In(source, path) => {
            let read = copy_in(vms, &vm, &source, &path, options).await?;
            note_left_out(context, &read).await?;
            print(context, &read.copied).await
        }
        CopyWay::Out(path, target) => {
            let read = copy_out(vms, &vm, &path, &target, options).await?;
            note_left_out(context, &read).await?;
            print(context, &read.copied).await
        }
        CopyWay::Unpack(path) => {
            let copied = unpack(context, &vm, &path, options).await?;
            print(context, &copied).await
        }
        CopyWay::Pack(path) => pack(context, &vm, &path, options).await,
    }
}

/// Sends standard input to the guest.
async fn unpack(
    context: &Context,
    vm: &Selector,
    path: &[u8],
    options: CopyOptions,
) -> Result<Copied, CliError> {
    let stdin = context.console.stdin();
    if is_terminal(stdin) {
        return Err(CliError::Usage {
            message: "a tar file is not read from a terminal".to_owned(),
            hint: Some("redirect standard input".to_owned()),
        });
    }
    let (mut input, pieces) = PipedInput::start(stdin)?;
    let vms = context.services.vms.as_ref();
    match unpack_in(vms, vm, path, options.keep_owners, pieces).await {
        Err(CopyError::Abandoned) => Err(input
            .failure()
            .unwrap_or_else(|| CopyError::Abandoned.into())),
        copied => Ok(copied?),
    }
}

/// Writes what the guest sends to standard output.
async fn pack(
    context: &Context,
    vm: &Selector,
    path: &[u8],
    options: CopyOptions,
) -> Result<(), CliError> {
    if is_terminal(io::stdout()) {
        return Err(CliError::Usage {
            message: "a tar file is not written to a terminal".to_owned(),
            hint: Some("redirect standard output".to_owned()),
        });
    }
    let vms = context.services.vms.as_ref();
    let mut stream = pack_out(vms, vm, path, options).await?;
    context.progress.finish();
    while let Some(event) = stream.events.recv().await {
        match event? {
            TreeEvent::Data(bytes) => context.console.write_stdout(&bytes).await?,
            TreeEvent::End(read) => return note_left_out(context, &read).await,
        }
    }
    Err(CopyError::Abandoned.into())
}

async fn note_left_out(context: &Context, read: &TreeRead) -> Result<(), CliError> {
    if read.sockets_left_out != 0 {
        let count = read.sockets_left_out;
        let text = format!("{count} sockets were left out: they cannot be copied");
        context.note(&text).await?;
    }
    if read.mounts_left_out != 0 {
        let count = read.mounts_left_out;
        let text =
            format!("what is mounted on {count} directories was left out: copy it by itself");
        context.note(&text).await?;
    }
    Ok(())
}

async fn print(context: &Context, copied: &Copied) -> Result<(), CliError> {
    let output = CopiedOutput::from(copied);
    context.print(&output, String::new).await
}
