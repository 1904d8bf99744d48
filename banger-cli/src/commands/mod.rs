//! The commands, one file each.
//!
//! Purpose: carry out a [`Task`] over the services. Invariants: a command knows
//! neither clap nor the environment; what it answers is banger's exit status.
//! Entry points: [`carry_out`].

mod catalog;
mod doctor;
mod image;
mod kernel;
mod rootfs;
mod snapshot;
mod vm;
mod volume;

pub use doctor::doctor;
pub use rootfs::build_rootfs;

use crate::{
    console::Console,
    context::{self, Context, Style},
    error::CliError,
    exit,
    output::VersionOutput,
    requests::{PlainTask, Task},
    signals::Signals,
};

/// Carries a task out and answers the exit status. The first ask to end drops
/// it, except where a guest's command gets the signal first.
pub async fn carry_out(
    context: &Context,
    signals: &mut Signals,
    task: Task,
) -> Result<u8, CliError> {
    match task {
        Task::Version => version(&context.console, context.style).await,
        Task::Doctor => {
            let (console, style) = (&context.console, context.style);
            let looking = doctor(context.services.doctor.as_ref(), console, style);
            signals.guard(looking).await
        }
        Task::BuildRootfs(request) => {
            let sources = context.services.sources.as_ref();
            let (progress, console) = (&context.progress, &context.console);
            let build = build_rootfs(sources, *request, progress, console, context.style);
            signals.guard(build).await
        }
        Task::Run(request) => Box::pin(vm::run(context, signals, *request)).await,
        Task::Exec(vm, request) => vm::exec(context, signals, &vm, request).await,
        Task::ExecDetached(vm, request) => {
            let started = vm::exec_detached(context, &vm, request);
            signals.guard(started).await
        }
        Task::Attach(vm, request) => vm::attach(context, signals, &vm, request).await,
        Task::PortForward(vm, ports) => {
            Box::pin(vm::port_forward(context, signals, &vm, &ports)).await
        }
        Task::Plain(task) => signals.guard(plain(context, task)).await,
    }
}

/// Prints the version, which needs no services.
pub async fn version(console: &Console, style: Style) -> Result<u8, CliError> {
    let version = VersionOutput {
        version: env!("CARGO_PKG_VERSION"),
    };
    let human = || format!("banger {}\n", version.version);
    context::print(console, style, &version, human).await?;
    Ok(exit::SUCCESS)
}

async fn plain(context: &Context, task: PlainTask) -> Result<u8, CliError> {
    use PlainTask as T;
    let done = match task {
        T::DeleteImages(images) => return image::delete(context, &images).await,
        T::DeleteKernels(kernels) => return kernel::delete(context, &kernels).await,
        T::DeleteVolumes(volumes) => return volume::delete(context, &volumes).await,
        T::Snapshots(task) => return snapshot::snapshots(context, task).await,
        T::DeleteVms(vms, force) => return vm::delete(context, &vms, force).await,
        T::ListAvailableImages => {
            let available = context.services.images.available().await;
            return catalog::print(context, available).await;
        }
        T::ListAvailableKernels => {
            let available = context.services.kernels.available().await;
            return catalog::print(context, available).await;
        }
        T::PullImage(request) => image::pull(context, request).await,
        T::LoadImage(request) => image::load(context, request).await,
        T::LoadNamed(text, request) => image::load_named(context, &text, request).await,
        T::BundleImage(request) => image::bundle(context, request).await,
        T::PullKernel(name, force) => kernel::pull(context, &name, force).await,
        T::BundleKernel(name, target) => kernel::bundle(context, &name, target).await,
        T::RegisterImage(request) => image::register(context, request).await,
        T::PromoteImage(image) => image::promote(context, &image).await,
        T::SaveImage(image, format, file) => image::save(context, &image, format, file).await,
        T::PruneCache(request) => image::prune(context, request).await,
        T::BuildFromImage(request) => image::build_from_image(context, *request).await,
        T::BuildContainerfile(request) => image::build_containerfile(context, *request).await,
        T::ListImages => image::list(context).await,
        T::Diff(one, other) => return image::diff(context, &one, &other).await,
        T::Cat(image, path) => image::cat(context, &image, path).await,
        T::ListContent(image, path, recursive) => image::ls(context, &image, path, recursive).await,
        T::ShowImage(image) => image::show(context, &image).await,
        T::ImportKernel(source, name) => kernel::import(context, &source, name).await,
        T::ListKernels => kernel::list(context).await,
        T::ShowKernel(name) => kernel::show(context, &name).await,
        T::CreateVolume(request) => volume::create(context, request).await,
        T::ListVolumes => volume::list(context).await,
        T::ShowVolume(name) => volume::show(context, &name).await,
        T::CreateVm(request) => vm::create(context, *request).await,
        T::StartVm(vm) => vm::start(context, &vm).await,
        T::StopVm(vm, grace) => vm::stop(context, &vm, grace).await,
        T::RestartVm(vm, grace) => vm::restart(context, &vm, grace).await,
        T::KillVm(vm) => vm::kill(context, &vm).await,
        T::PauseVm(vm) => vm::pause(context, &vm).await,
        T::ResumeVm(vm) => vm::resume(context, &vm).await,
        T::Stats(vms) => return vm::stats(context, &vms).await,
        T::WaitForVm(vm, limit) => return vm::wait(context, &vm, limit).await,
        T::SetVm(vm, request) => vm::set(context, &vm, request).await,
        T::PruneVms(request) => return vm::prune(context, request).await,
        T::Events(vm, after, follow) => vm::events(context, vm.as_ref(), after, follow).await,
        T::ListVms => vm::list(context).await,
        T::ListExecs(vm) => vm::execs(context, &vm).await,
        T::ShowVm(vm) => vm::show(context, &vm).await,
        T::Ports(vm) => vm::ports(context, &vm).await,
        T::Copy(request) => Box::pin(vm::cp(context, request)).await,
        T::Logs(vm, request, since) => vm::logs(context, &vm, request, since).await,
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
