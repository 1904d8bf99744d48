//! `banger kernel …`.

use banger_core::{domain::KernelName, kernel::KernelSource};
use clap::{Args, Subcommand};

/// What can be done with kernels.
#[derive(Clone, Debug, Subcommand)]
pub enum KernelCommand {
    /// Import a kernel
    Import(ImportArgs),
    /// List kernels
    #[command(visible_alias = "ls")]
    List,
    /// Show one kernel
    #[command(visible_alias = "inspect")]
    Show(ShowKernelArgs),
    /// Delete kernels that no image was made with
    #[command(visible_alias = "rm")]
    Delete(DeleteKernelArgs),
}

/// Arguments of `kernel import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Where the kernel is: apt:PACKAGE, deb:FILE, dir:DIR, or a vmlinux or bzImage file
    pub source: KernelSource,
    /// Keep it under this name instead of linux-RELEASE
    #[arg(long, short)]
    pub name: Option<KernelName>,
}

/// Arguments of `kernel show`.
#[derive(Args, Clone, Debug)]
pub struct ShowKernelArgs {
    /// The kernel's name
    pub kernel: KernelName,
}

/// Arguments of `kernel delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteKernelArgs {
    /// Names of kernels
    #[arg(required = true, value_name = "KERNEL")]
    pub kernels: Vec<KernelName>,
}
