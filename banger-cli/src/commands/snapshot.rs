//! `banger snapshot …`, `banger vm snapshot` and `banger vm restore`.

use banger_core::{
    domain::Selector,
    vm::{Lifetime, RestoreVm},
};

use super::{each, lines, vm};
use crate::{
    context::Context,
    error::CliError,
    exit,
    output::{SnapshotOutput, snapshot_details, snapshot_table},
    requests::SnapshotTask,
};

/// Does what is asked of snapshots; answers the exit status.
pub(super) async fn snapshots(context: &Context, task: SnapshotTask) -> Result<u8, CliError> {
    match task {
        SnapshotTask::Delete(snapshots) => return delete(context, &snapshots).await,
        SnapshotTask::Take(vm) => take(context, &vm).await?,
        SnapshotTask::Restore(snapshot, request) => restore(context, &snapshot, *request).await?,
        SnapshotTask::List => list(context).await?,
        SnapshotTask::Show(snapshot) => show(context, &snapshot).await?,
    }
    Ok(exit::SUCCESS)
}

async fn take(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let snapshot = context.services.vms.snapshot(vm).await?;
    let id = || lines([snapshot.id]);
    context.print(&SnapshotOutput::from(&snapshot), id).await
}

async fn restore(
    context: &Context,
    snapshot: &Selector,
    request: RestoreVm,
) -> Result<(), CliError> {
    let vms = &context.services.vms;
    let restoring = vms.restore(snapshot, request, Lifetime::Detached, &context.progress);
    vm::print(context, &restoring.await?.vm).await
}

async fn list(context: &Context) -> Result<(), CliError> {
    let snapshots = context.services.vms.list_snapshots().await?;
    let output: Vec<_> = snapshots.iter().map(SnapshotOutput::from).collect();
    context.print(&output, || snapshot_table(&snapshots)).await
}

async fn show(context: &Context, snapshot: &Selector) -> Result<(), CliError> {
    let snapshot = context.services.vms.show_snapshot(snapshot).await?;
    let output = SnapshotOutput::from(&snapshot);
    context.print(&output, || snapshot_details(&snapshot)).await
}

async fn delete(context: &Context, snapshots: &[Selector]) -> Result<u8, CliError> {
    let vms = &context.services.vms;
    let delete = async |snapshot: &Selector| Ok(vms.delete_snapshot(snapshot).await?);
    let (deleted, status) = each(context, snapshots, delete).await;
    let output: Vec<_> = deleted.iter().map(SnapshotOutput::from).collect();
    let ids = || lines(deleted.iter().map(|snapshot| snapshot.id));
    context.print(&output, ids).await?;
    Ok(status)
}
