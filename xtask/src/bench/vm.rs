//! `bench vm`: machines beside the bare VMM, commands and streams beside ssh,
//! and what a machine costs besides.
//!
//! Invariants: what is compared takes turns in one run, so that what else the
//! machine does meets all alike; the `banger` that is measured is the release
//! build, as users run it, its own start included; every machine is deleted,
//! also when a figure fails. Entry points: [`bench()`], [`Options`].

mod by_hand;
mod create;
mod exec;
mod firecracker;
mod guest;
mod memory;
mod processes;
mod qemu;
mod ssh;
mod start;
pub(super) mod streams;
mod timeline;
mod tiny;

use std::{fs, io};

use clap::{Args, ValueEnum};

use self::guest::Guest;
use super::{
    host::{self, Host},
    program::build_banger,
    report::{self, Report, Section},
};
use crate::{
    Result, guest as guest_program, packages,
    paths::{bench as directory, failed_at},
    run::{say, step},
    testbed,
};

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Measure this (can be repeated); everything when none is given
    #[arg(long = "figure", value_enum, value_name = "FIGURE")]
    figures: Vec<Figure>,
    /// Start machines so many times each way
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Run so many commands each way
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    calls: u16,
    /// Send so many MiB each way
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    mebibytes: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Starting guests on QEMU, beside QEMU by hand
    Qemu,
    /// Starting a tiny guest on Firecracker, beside Firecracker by hand
    Firecracker,
    /// Making a machine and its disk
    Create,
    /// Commands, beside ssh
    Exec,
    /// Streams, beside ssh
    Streams,
    /// The memory of a monitor
    Memory,
}

impl Figure {
    /// What needs a Linux guest that stays.
    const IN_A_GUEST: [Self; 3] = [Self::Exec, Self::Streams, Self::Memory];
}

impl Options {
    fn wants(&self, figure: Figure) -> bool {
        self.figures.is_empty() || self.figures.contains(&figure)
    }
}

/// Measures and prints.
pub(super) fn bench(options: &Options) -> Result<()> {
    testbed::check_architecture()?;
    if !packages::is_root() {
        return Err("the images are made with device nodes: run it as root".to_owned());
    }
    packages::install(packages::Set::Bench)?;
    testbed::make()?;
    guest_program::build()?;
    step("building banger", build_banger)?;
    let state = directory().join("vm");
    clear(&state)?;
    let host = Host::new(&state)?;
    let sections = measure(&host, options)?;
    let backend = host.backend();
    report::print(&Report::new(sections, backend)?, options.json);
    clear(&state)
}

fn clear(state: &std::path::Path) -> Result<()> {
    match fs::remove_dir_all(state) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed_at(state)(error)),
        _ => Ok(()),
    }
}

fn measure(host: &Host, options: &Options) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    if options.wants(Figure::Create) {
        sections.push(create::measure(host, options.calls)?);
    }
    if options.wants(Figure::Firecracker) {
        match firecracker::obstacle() {
            Some(obstacle) => say(&format!("Firecracker is not measured: {obstacle}")),
            None => sections.push(firecracker::measure(host, options.rounds)?),
        }
    }
    if options.wants(Figure::Qemu) {
        sections.push(qemu::measure_tiny(host, options.rounds)?);
        sections.push(qemu::measure(host, options.rounds)?);
    }
    if Figure::IN_A_GUEST
        .iter()
        .any(|figure| options.wants(*figure))
    {
        sections.extend(measure_in_a_guest(host, options)?);
    }
    Ok(sections)
}

fn measure_in_a_guest(host: &Host, options: &Options) -> Result<Vec<Section>> {
    let guest = Guest::start(host)?;
    let mut sections = Vec::new();
    let fresh = memory::look_at_rest(&guest)?;
    if options.wants(Figure::Exec) {
        sections.push(exec::measure(&guest, options.calls)?);
    }
    if options.wants(Figure::Streams) {
        sections.push(streams::measure(&guest, options.rounds, options.mebibytes)?);
    }
    if options.wants(Figure::Memory) {
        let used = memory::ask(&guest)?;
        let rested = memory::look_at_rest(&guest)?;
        sections.push(memory::section([fresh, used, rested]));
    }
    Ok(sections)
}
