//! Measures a banger service and prints what it measured as JSON.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use banger_bench::{Result, Samples, Server, exec, lists, records, streams, unary};
use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Measure a banger service: what `cargo xtask bench grpc` runs
#[derive(Debug, Parser)]
#[command(name = "banger-bench", version)]
struct Arguments {
    /// The service's socket
    #[arg(long)]
    socket: Utf8PathBuf,
    /// The service's state
    #[arg(long)]
    state_dir: Utf8PathBuf,
    #[command(subcommand)]
    what: What,
}

/// What is done.
#[derive(Debug, Subcommand)]
enum What {
    /// Make records of machines
    Records {
        /// How many
        count: u32,
    },
    /// Measure calls of one question and one answer
    Unary {
        /// The machine that is asked for
        vm: String,
        /// Calls of each method, each way
        #[arg(long)]
        calls: u32,
        /// Callers at a time
        #[arg(long)]
        callers: u32,
    },
    /// Measure pages of the list of machines
    Lists {
        /// How often each list is read
        #[arg(long)]
        walks: u32,
    },
    /// Measure streams on which nothing happens
    Streams {
        /// The service's process
        process: u32,
        /// How many that go on from where another one was
        #[arg(long)]
        resumed: u32,
        /// How many that are told every machine first
        #[arg(long)]
        told_all: u32,
        /// Seconds in which nothing happens
        #[arg(long)]
        idle: u64,
    },
    /// Measure a command's input and output
    Exec {
        /// The machine in which commands run
        vm: String,
        /// MiB each way
        #[arg(long)]
        mebibytes: u16,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = Builder::new_current_thread().enable_all().build();
    let measured = measured.map_err(Into::into);
    let measured = measured.and_then(|runtime| runtime.block_on(perform(arguments)));
    let written = match &measured {
        Ok(samples) => writeln!(io::stdout(), "{}", samples.json()),
        Err(problem) => writeln!(io::stderr(), "banger-bench: {problem}"),
    };
    if measured.is_ok() && written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn perform(arguments: Arguments) -> Result<Samples> {
    let server = Server {
        socket: arguments.socket,
        state: arguments.state_dir,
    };
    match arguments.what {
        What::Records { count } => {
            records::make(&server, count).await?;
            Ok(Samples::default())
        }
        What::Unary { vm, calls, callers } => {
            let plan = unary::Plan { vm, calls, callers };
            unary::measure(&server, &plan).await
        }
        What::Lists { walks } => lists::measure(&server, walks).await,
        What::Streams {
            process,
            resumed,
            told_all,
            idle,
        } => {
            let plan = streams::Plan {
                process,
                resumed,
                told_all,
                idle: Duration::from_secs(idle),
            };
            streams::measure(&server, &plan).await
        }
        What::Exec { vm, mebibytes } => exec::measure(&server, &exec::Plan { vm, mebibytes }).await,
    }
}
