//! `bench grpc`: the service beside what gRPC and the database cost alone, and
//! commands through it beside commands without it.
//!
//! Invariants: what is compared takes turns in one run; service, client and
//! `banger` are release builds; every figure has a service of its own, which is
//! ended with it, and so is every machine. Entry points: [`bench()`], [`Options`].

mod client;
mod daemon;
mod exec;
mod lists;
mod streams;
mod unary;

use std::{fs, io, path::Path};

use clap::{Args, ValueEnum};

use self::{client::Client, daemon::Daemon};
use super::{
    host::Host,
    program::build_service,
    report::{self, Report, Section},
};
use crate::{
    Result, guest, packages,
    paths::{bench as directory, failed_at},
    run::step,
    testbed,
};

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Measure this (can be repeated); everything when none is given
    #[arg(long = "figure", value_enum, value_name = "FIGURE")]
    figures: Vec<Figure>,
    /// Have so many records of machines
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
    /// Call every method so often each way
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Have so many callers at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..256))]
    callers: u32,
    /// Read every list so often
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    walks: u32,
    /// Have so many idle streams
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Leave streams alone for so many seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    idle: u32,
    /// Send streams of commands so often each way
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
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
    /// A command's input and output, beside commands without the service
    Exec,
    /// Calls of one question and one answer, beside a health check
    Unary,
    /// Pages of the list of machines, beside the same from the database
    Lists,
    /// The memory of streams on which nothing happens
    Streams,
}

impl Options {
    fn wants(&self, figure: Figure) -> bool {
        self.figures.is_empty() || self.figures.contains(&figure)
    }

    fn needs_records(&self) -> bool {
        let figures = [Figure::Unary, Figure::Lists, Figure::Streams];
        figures.into_iter().any(|figure| self.wants(figure))
    }
}

/// Measures and prints.
pub(super) fn bench(options: &Options) -> Result<()> {
    testbed::check_architecture()?;
    if !packages::is_root() {
        return Err("the images are made with device nodes: run it as root".to_owned());
    }
    packages::install(packages::Set::Test)?;
    testbed::make()?;
    guest::build()?;
    step("building banger and its service", build_service)?;
    let state = directory().join("grpc");
    clear(&state)?;
    let host = Host::new(&state)?;
    let sections = measure(&host, options)?;
    let backend = host.backend();
    report::print(&Report::new(sections, backend)?, options.json);
    clear(&state)
}

fn clear(state: &Path) -> Result<()> {
    match fs::remove_dir_all(state) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed_at(state)(error)),
        _ => Ok(()),
    }
}

fn measure(host: &Host, options: &Options) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    if options.wants(Figure::Exec) {
        sections.push(exec::measure(host, options.rounds, options.mebibytes)?);
    }
    if options.needs_records() {
        make_records(host, options.records)?;
    }
    if options.wants(Figure::Unary) {
        sections.push(unary::measure(host, options.calls, options.callers)?);
    }
    if options.wants(Figure::Lists) {
        sections.push(lists::measure(host, options.records, options.walks)?);
    }
    if options.wants(Figure::Streams) {
        let section = streams::measure(host, options.streams, options.idle)?;
        sections.push(section);
    }
    Ok(sections)
}

fn make_records(host: &Host, count: u32) -> Result<()> {
    let daemon = Daemon::start(host)?;
    let client = Client::of(host, &daemon);
    step(&format!("making {count} records"), || {
        client.ask(&["records", &count.to_string()]).map(drop)
    })
}
