//! QEMU's microvm machine (QEMU manual, "microvm virtual platform"): virtio
//! devices over MMIO, found through ACPI; console on the first serial port.

mod arguments;
mod control;

pub(super) use arguments::{Descriptors, arguments};
pub(super) use control::Control;
