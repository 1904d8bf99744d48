//! The programs that run virtual machines, behind one seam.
//!
//! Purpose: turn a machine description into a running VMM process with a
//! console and a channel. Invariants: a backend is chosen by looking, and the
//! choice says why; a VMM dies with the thread that started it and inherits
//! nothing but its end of the channel.
//! Entry points: [`HostFacts::gather`], [`choose_backend`], [`Machine`],
//! `VmmProcess`.

mod choice;
mod error;
mod facts;
mod frequency;
mod machine;
mod process;
mod qemu;

pub use choice::{Acceleration, ChosenBackend, VmmPrograms, choose_backend};
pub use error::BackendError;
pub use facts::{HostFacts, KvmFacts};
pub(crate) use frequency::time_stamp_khz;
pub use machine::{Disk, Machine};
pub(crate) use process::{VmmOutput, VmmProcess};
