//! The commands, one file each.
//!
//! Purpose: carry out a [`Task`] over the services. Invariants: a command knows
//! neither clap nor the environment; what it answers is banger's exit status.
//! Entry points: [`carry_out`].

mod image;
mod kernel;
mod vm;

use crate::{context::Context, error::CliError, exit, requests::Task, signals::Signals};

/// Carries out a task and answers the exit status. The first ask to end drops
/// it, except where a guest's command gets the signal first.
pub async fn carry_out(
    context: &Context,
    signals: &mut Signals,
    task: Task,
) -> Result<u8, CliError> {
    match task {
        Task::RunVm(request) => vm::run(context, signals, *request).await,
        Task::Exec(vm, request) => vm::exec(context, signals, &vm, request).await,
        task => signals.guard(plain(context, task)).await,
    }
}

/// The tasks that a signal simply ends.
async fn plain(context: &Context, task: Task) -> Result<u8, CliError> {
    let done = match task {
        Task::DeleteImages(images) => return image::delete(context, &images).await,
        Task::DeleteKernels(kernels) => return kernel::delete(context, &kernels).await,
        Task::DeleteVms(vms, force) => return vm::delete(context, &vms, force).await,
        Task::PullImage(request) => image::pull(context, request).await,
        Task::ListImages => image::list(context).await,
        Task::ShowImage(image) => image::show(context, &image).await,
        Task::ImportKernel(source, name) => kernel::import(context, &source, name).await,
        Task::ListKernels => kernel::list(context).await,
        Task::ShowKernel(name) => kernel::show(context, &name).await,
        Task::CreateVm(request) => vm::create(context, request).await,
        Task::StartVm(vm) => vm::start(context, &vm).await,
        Task::StopVm(vm, grace) => vm::stop(context, &vm, grace).await,
        Task::ListVms => vm::list(context).await,
        Task::ShowVm(vm) => vm::show(context, &vm).await,
        Task::Logs(vm, request) => vm::logs(context, &vm, request).await,
        Task::Version | Task::RunVm(_) | Task::Exec(..) => Ok(()),
    };
    done.map(|()| exit::SUCCESS)
}

/// Does the same to each of several things, reports every failure, and answers
/// what succeeded and the status of the first failure.
async fn each<S, T>(
    context: &Context,
    things: &[S],
    operation: impl AsyncFn(&S) -> Result<T, CliError>,
) -> (Vec<T>, u8) {
    let mut done = Vec::new();
    let mut status = exit::SUCCESS;
    for thing in things {
        match operation(thing).await {
            Ok(result) => done.push(result),
            Err(error) => {
                context.report(&error).await;
                if status == exit::SUCCESS {
                    status = exit::of_error(&error, exit::Surface::Own);
                }
            }
        }
    }
    (done, status)
}

/// Names, one a line.
fn lines<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let line = |name: T| format!("{}\n", name.to_string());
    names.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests;
