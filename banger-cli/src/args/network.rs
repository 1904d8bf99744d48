//! How a VM reaches the network, and is reached.

use banger_core::domain::{NetworkMode, PublishedPort};
use clap::Args;

use super::values;

/// A VM's network.
#[derive(Args, Clone, Debug)]
pub struct NetworkArgs {
    /// Give it this network: user (what the host's user reaches; 10.0.2.2 is
    /// the host's own loopback) or none
    #[arg(long, default_value = NetworkMode::User.as_str(), value_parser = values::network, value_name = "NETWORK", help_heading = "Network")]
    pub network: NetworkMode,
    /// Lead a port of the host to one of the VM: [[ADDRESS:]HOST:]GUEST[/tcp|udp]
    /// (can be repeated)
    ///
    /// ADDRESS is 127.0.0.1 by default; 0.0.0.0 lets every host in. Without HOST,
    /// or with 0, any free port is taken: `banger vm ports` says which.
    #[arg(long, short, value_name = "PORT", help_heading = "Network")]
    pub publish: Vec<PublishedPort>,
}
