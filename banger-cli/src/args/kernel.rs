//! `banger kernel …`.

use banger_core::{domain::KernelName, kernel::KernelSource};
use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

/// What can be done with kernels.
#[derive(Clone, Debug, Subcommand)]
pub enum KernelCommand {
    /// Import a kernel
    Import(ImportArgs),
    /// Pull a kernel that a catalog has
    Pull(PullKernelArgs),
    /// Write a kernel into one file, of which `kernel import file:FILE` makes it again
    Bundle(BundleKernelArgs),
    /// List kernels
    #[command(visible_alias = "ls")]
    List(ListKernelsArgs),
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
    /// Where the kernel is: apt:PACKAGE, deb:FILE, dir:DIR, a vmlinux or bzImage file, or a bundle
    /// file:FILE[@sha256:HEX], https://HOST/FILE@sha256:HEX or
    /// oci://HOST/REPOSITORY@sha256:HEX
    pub source: KernelSource,
    /// Keep it under this name instead of linux-RELEASE
    #[arg(long, short)]
    pub name: Option<KernelName>,
}

/// Arguments of `kernel pull`.
#[derive(Args, Clone, Debug)]
pub struct PullKernelArgs {
    /// The kernel's name; `kernel list --available` shows the names
    pub kernel: KernelName,
    /// Replace a kernel of that name
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `kernel bundle`.
#[derive(Args, Clone, Debug)]
pub struct BundleKernelArgs {
    /// The kernel's name
    pub kernel: KernelName,
    /// Write it to this file, which must not exist
    #[arg(long, short, value_name = "FILE")]
    pub output: Utf8PathBuf,
}

/// Arguments of `kernel list`.
#[derive(Args, Clone, Debug)]
pub struct ListKernelsArgs {
    /// List what the catalogs offer instead
    #[arg(long)]
    pub available: bool,
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
