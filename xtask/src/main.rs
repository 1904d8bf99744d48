//! banger's build tasks: `cargo xtask help` lists them.
//!
//! Purpose: everything a fresh machine with Rust needs to build, try and test
//! banger, host packages included. Invariants: a step that cannot be done
//! stops everything and says why; what is made appears whole, by rename.
//! Entry points: [`Task`].

mod bench;
mod fuzz;
mod golden_image;
mod guest;
mod packages;
mod paths;
mod quickstart;
mod run;
mod testbed;
mod tests;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// banger's build tasks
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

/// What can be done.
#[derive(Debug, Subcommand)]
enum Task {
    /// Build banger, get a kernel and an image, and run a command in a VM
    Quickstart {
        /// Image to pull; a Debian image made here when none is given
        reference: Option<String>,
    },
    /// Install what the tests need and run every test
    Test {
        /// Words that the names of the tests to run contain; all when empty
        filters: Vec<String>,
    },
    /// Install the host packages that running or testing needs
    Packages {
        /// Which set
        #[arg(value_enum, default_value = "test")]
        set: packages::Set,
    },
    /// Build the static program that runs inside guests
    Guest,
    /// Make the kernel package and the images that tests use
    Testbed,
    /// Bundle the golden image and write the catalog that offers it
    GoldenImage {
        /// Take this image (oci:DIR:TAG) instead of building examples/golden-image with buildah
        #[arg(long)]
        layout: Option<String>,
        /// Bundle this kernel, as `banger kernel import` takes it, instead of Debian's by apt
        #[arg(long)]
        kernel: Option<String>,
        /// Put bundles and catalog.json into this directory, instead of golden-image below target
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Measure banger against other ways and the machine's limit
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Generate the Rust of the protocols and the command line's reference
    Codegen,
    /// Feed the parsers and the disk writer with random input
    Fuzz {
        /// Which target; each in turn when none is given
        target: Option<String>,
        /// How long a target runs
        #[arg(long, default_value_t = 600)]
        seconds: u32,
    },
    /// Check the rules of the house
    Tidy,
}

/// A task's result; the error is one line for a person.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            run::say(&format!("failed: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Quickstart { reference } => quickstart::quickstart(reference.as_deref()),
        Task::Test { filters } => tests::test(&filters),
        Task::Packages { set } => packages::install(set),
        Task::Guest => guest::build().map(drop),
        Task::Testbed => testbed::make().map(drop),
        Task::GoldenImage {
            layout,
            kernel,
            output,
        } => {
            let kernel = kernel.unwrap_or_else(golden_image::usual_kernel);
            let parts = golden_image::Parts { layout, kernel };
            golden_image::build(&parts, output.as_deref())
        }
        Task::Bench { what } => bench::bench(what),
        Task::Codegen => tests::generate(),
        Task::Fuzz { target, seconds } => fuzz::fuzz(target.as_deref(), seconds),
        Task::Tidy => tidy::check(),
    }
}
