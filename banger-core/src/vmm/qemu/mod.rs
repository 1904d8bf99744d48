//! QEMU's microvm machine (QEMU manual, "microvm virtual platform"): virtio
//! devices over MMIO, found through ACPI; console on the first serial port.

mod arguments;

pub(super) use arguments::arguments;
