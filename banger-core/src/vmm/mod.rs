//! The programs that run virtual machines, behind one seam.
//!
//! Purpose: turn a machine description into a running VMM process with a
//! console and a channel, stop its time and let it go on, and keep it in files
//! to go on from. Invariants: a backend is chosen by looking, and the choice
//! says why; a VMM dies with the thread that started it and inherits nothing
//! but what it needs; every question to a VMM has a deadline, and what it
//! answers is bounded.
//! Entry points: [`HostFacts::gather`], [`choose_backend`], [`Machine`],
//! `VmmProcess`; a new backend is one more module and one more variant of
//! `process::Control`.

mod channel;
mod choice;
#[cfg(test)]
mod contract;
mod error;
mod facts;
mod firecracker;
mod frequency;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod jail;
mod machine;
mod metrics;
pub(crate) mod network;
mod process;
mod qemu;

pub(crate) use channel::Channel;
pub(crate) use choice::kvm_obstacle;
pub use choice::{
    Acceleration, ChosenBackend, VmmPrograms, choose_backend, choose_backend_with_network,
};
pub use error::BackendError;
pub(crate) use facts::is_executable;
pub use facts::{HostFacts, KvmFacts};
pub(crate) use firecracker::{MetricsProbe, Support};
pub(crate) use frequency::time_stamp_khz;
pub(crate) use guest::GuestView;
pub use jail::{ChosenJail, JailFacts, JailIds, JailIdsParseError, JailMode, JailOptions};
pub use machine::{Disk, Machine};
pub use metrics::VmmMetrics;
pub use network::{HardwareAddress, MachineNetwork, NetworkError};
pub(crate) use process::{Spawned, VmmEvent, VmmOutput, VmmProcess, VmmRequest, sockets};
