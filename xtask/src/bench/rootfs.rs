//! `bench rootfs`: image to disk by banger, by others, and at most.
//!
//! Invariants: pipelines take turns, so that what else the machine does meets
//! all alike; each starts with the layout in the page cache and nothing left to
//! be written back. Trees that a pipeline made are moved aside and removed at
//! the end: deleting a big one slows what makes files next on ext4 by up to 50
//! times. Entry points: [`bench()`], [`Options`].

mod flatten;
mod limit;
mod measure;
mod original;
mod pipelines;
mod registry;
mod report;

use std::{fs, io, path::Path, thread, time::Duration};

use clap::Args;

pub(super) use self::original::{Flattening, flatten};
use self::{
    limit::Limit,
    measure::Sample,
    pipelines::{Bench, Pipeline},
    report::{ImageReport, Report},
};
use super::{
    images::{self, Image},
    program::{build_banger, release},
};
use crate::{
    Result,
    paths::{bench as directory, failed_at, workspace},
    run::{capture, command, run, say, step},
    tests::cargo,
};

/// The size of the empty disk, in MiB.
const EMPTY_MEBIBYTES: &str = "65536";

/// How long ext4 avoids inodes that were freed: 5 s, or 40 s while the disk does
/// not know yet (the kernel's fs/ext4/ialloc.c, `recently_deleted`).
const FORGETTING: Duration = Duration::from_secs(45);

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Measure this image; small, medium and large when none is given
    #[arg(long = "image", value_enum, value_name = "IMAGE")]
    images: Vec<Image>,
    /// Do everything so many times
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Measure this pipeline; all when none is given
    #[arg(long = "pipeline", value_enum, value_name = "NAME")]
    pipelines: Vec<Pipeline>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub(super) fn bench(options: &Options) -> Result<()> {
    images::make(&options.images)?;
    step("building banger", build)?;
    let run = directory().join("run");
    clear(&run)?;
    fs::create_dir_all(&run).map_err(failed_at(&run))?;
    let report = measure(options, &run)?;
    report::print(&report, options.json);
    // which takes minutes where trees are large
    step("removing what was made", || clear(&run))
}

fn build() -> Result<()> {
    build_banger()?;
    let example = ["--package", "banger-core", "--example", "format_empty"];
    run(cargo()
        .args(["build", "--release", "--quiet"])
        .args(example))
}

/// Removes what runs made and waits until ext4 hands out the inodes again:
/// until then making files is slow, for others much more than for banger.
fn clear(run: &Path) -> Result<()> {
    match fs::remove_dir_all(run) {
        Ok(()) => thread::sleep(FORGETTING),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed_at(run)(error)),
    }
    Ok(())
}

fn measure(options: &Options, run: &Path) -> Result<Report> {
    let mut bench = Bench::start(run)?;
    let chosen = if options.images.is_empty() {
        &Image::USUAL[..]
    } else {
        &options.images
    };
    let mut images = Vec::new();
    for image in chosen {
        images.push(prepare(&mut bench, *image)?);
    }
    let mut empty = Vec::new();
    for round in 1..=options.rounds {
        for image in &mut images {
            measure_image(&mut bench, image, &options.pipelines, round)?;
        }
        empty.push(format_empty(&bench)?);
    }
    Report::new(images, empty)
}

/// Fills the registry and the page cache, and learns what the image holds.
fn prepare(bench: &mut Bench, image: Image) -> Result<ImageReport> {
    let what = format!("preparing the {} image", image.name());
    step(&what, || {
        let subject = bench.subject(image)?;
        let facts = bench.run(&subject, Pipeline::Layout)?;
        let facts = facts.disk.ok_or("banger described no disk")?;
        Ok(ImageReport::new(subject, facts))
    })
}

fn measure_image(
    bench: &mut Bench,
    image: &mut ImageReport,
    chosen: &[Pipeline],
    round: u16,
) -> Result<()> {
    let is_chosen = |pipeline: &&Pipeline| chosen.is_empty() || chosen.contains(pipeline);
    for pipeline in Pipeline::ALL.iter().filter(is_chosen) {
        if !pipeline.suits(image.subject.image) {
            continue;
        }
        let sample = bench.run(&image.subject, *pipeline)?;
        tell(image.subject.image, pipeline.name(), round, sample.seconds);
        image.samples.push((*pipeline, sample));
    }
    if image.subject.image != Image::MediumZstd {
        let limit = Limit::measure(&image.subject.layout, image.facts.content, &bench.directory)?;
        tell(image.subject.image, "limit", round, limit.seconds());
        image.limits.push(limit);
    }
    Ok(())
}

fn tell(image: Image, what: &str, round: u16, seconds: f64) {
    say(&format!(
        "round {round}, {}, {what}: {seconds:.2} s",
        image.name()
    ));
}

/// Milliseconds that formatting an empty disk takes.
fn format_empty(bench: &Bench) -> Result<f64> {
    let file = bench.directory.join("empty.ext4");
    let program = release("examples/format_empty");
    let printed = capture(
        command(program, workspace())
            .arg(&file)
            .arg(EMPTY_MEBIBYTES),
    )?;
    fs::remove_file(&file).map_err(failed_at(&file))?;
    let microseconds: f64 = printed
        .trim()
        .parse()
        .map_err(|_| format!("format_empty printed {printed}"))?;
    Ok(microseconds / 1000.0)
}

/// What was measured of one image.
type Samples = Vec<(Pipeline, Sample)>;
