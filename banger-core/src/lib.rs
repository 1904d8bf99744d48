//! Turns OCI images into ext4 root disks and runs them as microVMs.
//!
//! Purpose: the library that the `banger` command and service wrap.
//! Invariants: it never prints, never reads the environment, holds no global
//! state and needs no privilege; what a crash leaves is repaired by the next
//! call. Entry points: [`local::Local`], and the traits [`image::ImageManager`],
//! [`kernel::KernelResolver`] and [`vm::VmSupervisor`], and
//! [`image::build::ImageBuilder`] and [`volume::VolumeManager`]; [`image`] lists
//! the pure helpers.

pub mod bundle;
pub mod catalog;
pub mod clock;
pub mod diagnostics;
pub mod directories;
pub mod disk;
pub mod domain;

pub mod error;
pub mod ext4;
pub mod host_fs;
pub mod image;
pub mod initrd;
pub mod kernel;
pub mod layer;
pub mod local;
pub mod oci;
pub mod process;
pub mod progress;
pub mod remote;
pub mod rootfs;
pub mod step;
pub mod store;
mod sys;
mod task;
pub mod trust;
pub mod vm;
pub mod vmm;
pub mod volume;

pub use error::ErrorKind;
