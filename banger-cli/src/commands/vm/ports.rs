//! `banger vm ports`.

use banger_core::domain::Selector;

use crate::{
    context::Context,
    error::CliError,
    output::{PortOutput, bound_ports, port_lines},
};

pub(in crate::commands) async fn ports(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let vm = context.services.vms.show(vm).await?;
    let ports = bound_ports(&vm);
    let json: Vec<PortOutput> = ports.iter().map(PortOutput::from).collect();
    context.print(&json, || port_lines(ports)).await
}
