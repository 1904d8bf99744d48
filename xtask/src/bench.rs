//! Benchmarks: banger against other ways to the same disk, and against what
//! the machine can do at all; its machines against the bare VMM and ssh; its service against what
//! gRPC and the database cost alone.
//!
//! Invariants: what is compared is measured in one go on one machine; nothing
//! runs elsewhere than on loopback but the making of images. Entry points:
//! [`bench()`].

mod counts;
mod grpc;
mod host;
mod images;
mod layout;
mod machine;
mod program;
mod report;
mod rootfs;
mod statistics;
mod vm;

use std::path::PathBuf;

use clap::Subcommand;

use crate::Result;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure the ways from an image to a disk, interleaved
    Rootfs(rootfs::Options),
    /// Measure machines beside the bare VMM, and commands beside ssh
    Vm(vm::Options),
    /// Measure the service: its calls, lists, commands and idle streams
    Grpc(grpc::Options),
    /// Make the images that are measured
    Images {
        /// Which of them; all when none is given
        #[arg(value_enum)]
        images: Vec<images::Image>,
    },
    /// Fill a directory with an image: what runs in a mount namespace
    #[command(hide = true)]
    MakeImage {
        /// Which image
        #[arg(value_enum)]
        image: images::Image,
        /// The directory
        directory: PathBuf,
    },
    /// Do as banger first did: what runs without privileges
    #[command(hide = true)]
    Flatten(rootfs::Flattening),
}

/// Measures.
pub(crate) fn bench(what: Bench) -> Result<()> {
    match what {
        Bench::Rootfs(options) => rootfs::bench(&options),
        Bench::Vm(options) => vm::bench(&options),
        Bench::Grpc(options) => grpc::bench(&options),
        Bench::Flatten(flattening) => rootfs::flatten(&flattening),
        Bench::Images { images } => images::make(&images).map(drop),
        Bench::MakeImage { image, directory } => images::make_inside(image, &directory),
    }
}
