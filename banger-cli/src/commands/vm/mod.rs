//! `banger vm …`.

mod cp;
mod create;
mod delete;
mod events;
mod exec;
mod find_image;
mod kill;
mod list;
mod logs;
mod pause;
mod port_forward;
mod ports;
mod prune;
mod restart;
mod run;
mod set;
mod show;
mod start;
mod stats;
mod stop;
mod wait;

pub(super) use cp::cp;
pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use events::events;
pub(super) use exec::{attach, exec, exec_detached, execs};
pub(super) use kill::kill;
pub(super) use list::list;
pub(super) use logs::logs;
pub(super) use pause::{pause, resume};
pub(super) use port_forward::port_forward;
pub(super) use ports::ports;
pub(super) use prune::prune;
pub(super) use restart::restart;
pub(super) use run::run;
pub(super) use set::set;
pub(super) use show::show;
pub(super) use start::start;
pub(super) use stats::stats;
pub(super) use stop::stop;
pub(super) use wait::wait;

use banger_core::domain::Vm;

use crate::{commands::lines, context::Context, error::CliError, output::VmOutput};

/// Prints one VM: its name, or its record as JSON.
pub(super) async fn print(context: &Context, vm: &Vm) -> Result<(), CliError> {
    context
        .print(&VmOutput::from(vm), || lines([&vm.name]))
        .await
}
