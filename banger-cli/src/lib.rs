//! The `banger` command.
//!
//! Purpose: a thin front end over `banger_core`'s four traits. A command line
//! becomes a [`requests::Task`] (pure), the environment and configuration
//! become [`settings::Settings`] (pure), and [`commands`] carry the task out.
//! Invariants: standard output is data, all else goes to standard error; no
//! prompt, ever; bad input is refused before anything on disk is touched; the
//! environment is read in [`environment`] alone, exit statuses are made in
//! [`exit`] alone. Entry points: [`main`]; [`commands::carry_out`] for services
//! of an embedder's own.

pub mod args;
pub mod commands;
pub mod config;
pub mod console;
pub mod context;
pub mod endpoint;
pub mod environment;
pub mod error;
pub mod exit;
pub mod output;
pub mod policy;
pub mod progress;
pub mod registries;
pub mod requests;
pub mod services;
pub mod session;
pub mod settings;
pub mod signals;
pub mod terminal;

mod monitor;

use std::{ffi::OsString, io, process::ExitCode, time::Duration};

use banger_core::{rootfs::BuildRequest, store::Connections};
use camino::Utf8Path;
use tokio::runtime::{Builder, Runtime};

use crate::{
    args::{Cli, GlobalArgs, Parsed, RegistryArgs},
    config::Config,
    console::Console,
    context::{Context, Style},
    endpoint::Endpoint,
    environment::Environment,
    error::{CliError, Report},
    exit::Surface,
    progress::Progress,
    requests::Task,
    services::Services,
    settings::{GuestProgram, Settings},
    signals::Signals,
};

/// What blocking work is given to notice that nobody wants it any more.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = environment::arguments();
    if let Some(arguments) = monitor::arguments(&arguments) {
        return monitor::main(arguments);
    }
    ExitCode::from(run(&arguments))
}

fn run(arguments: &[OsString]) -> u8 {
    let mut surface = Surface::Own;
    let json = args::wants_json(arguments);
    match parse_and_start(arguments, &mut surface) {
        Ok(status) => status,
        Err(error) if error.is_broken_pipe() => exit::SUCCESS,
        Err(error) => {
            complain(&error, json);
            exit::of_error(&error, surface)
        }
    }
}

fn parse_and_start(arguments: &[OsString], surface: &mut Surface) -> Result<u8, CliError> {
    let cli = match args::parse(arguments)? {
        Parsed::Run(cli) => *cli,
        Parsed::Text(text) => return write_text(&text),
    };
    let environment = Environment::read()?;
    let Cli {
        global,
        mut command,
    } = cli;
    let registry = command.take_registry();
    let task = Task::prepare(command, &environment.working_directory)?;
    *surface = task.surface();
    start_log(environment.log.as_deref());
    let (mut settings, endpoint) = read_settings(&global, &environment)?;
    check_host(&task, &settings, endpoint.as_ref())?;
    if endpoint.is_none() {
        settings.registries = registries::sign_in(
            settings.registries,
            registry,
            task.reference(),
            &environment,
            || registries::read_password(io::stdin().lock()),
        )?;
    } else if registry != RegistryArgs::default() {
        return Err(CliError::usage(
            "credentials of registries are the service's own: none can be given with --endpoint",
        ));
    }
    let runtime = runtime(&task).map_err(|source| setup("the async runtime", source))?;
    let progress = progress(&global, &environment);
    let style = Style {
        json: global.json,
        quiet: global.quiet || global.json,
    };
    let result = runtime.block_on(carry_out(settings, endpoint, task, progress, style));
    runtime.shutdown_timeout(WIND_DOWN);
    result
}

/// One thread where little is done: handing work from thread to thread takes
/// longer than the work.
fn runtime(task: &Task) -> io::Result<Runtime> {
    let mut builder = if task.moves_content() {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder.enable_all().build()
}

/// Opens the services and carries the task out.
async fn carry_out(
    settings: Settings,
    endpoint: Option<Endpoint>,
    task: Task,
    progress: Progress,
    style: Style,
) -> Result<u8, CliError> {
    let mut signals = Signals::listen().map_err(|source| setup("signal handling", source))?;
    let console = Console::of_process().map_err(|source| setup("standard streams", source))?;
    let task = match task {
        Task::Version => return commands::version(&console, style).await,
        // what keeps the services from being opened is what it is to find
        Task::Doctor if endpoint.is_none() => {
            let doctor = services::local_doctor(settings);
            let looking = commands::doctor(&doctor, &console, style);
            return signals.guard(looking).await;
        }
        Task::BuildRootfs(request) => {
            let sources = services::source_options(&settings);
            let limits = settings.limits;
            let request = BuildRequest { limits, ..*request };
            let build = commands::build_rootfs(&sources, request, &progress, &console, style);
            return signals.guard(build).await;
        }
        task => task,
    };
    let opened = async {
        match &endpoint {
            Some(endpoint) => Services::open_remote(&settings, endpoint).await,
            None => Services::open_local(settings, Connections::Shared).await,
        }
    };
    let services = signals.guard(Box::pin(opened)).await?;
    let context = Context {
        services,
        console,
        progress,
        style,
    };
    let result = Box::pin(commands::carry_out(&context, &mut signals, task)).await;
    context.progress.finish();
    context.services.settle().await;
    // the process ends: to close the database would copy its log with three
    // syncs, for nobody, and the next program would begin another one
    std::mem::forget(context.services);
    result
}

fn read_settings(
    flags: &GlobalArgs,
    environment: &Environment,
) -> Result<(Settings, Option<Endpoint>), CliError> {
    let config = match settings::config_file(flags, environment) {
        Some((path, named)) => Config::read(&path, named)?,
        None => Config::default(),
    };
    let endpoint = endpoint::resolve(&flags.service, environment, &config.service)?;
    let is_file = |path: &Utf8Path| path.is_file();
    let mut settings = settings::resolve(flags, environment, &config, &is_file)?;
    if let Some(path) = &settings.policy {
        settings.supply.policy = policy::read(path)?;
    }
    Ok((settings, endpoint))
}

/// What the host must have for a task, before anything is touched.
fn check_host(
    task: &Task,
    settings: &Settings,
    endpoint: Option<&Endpoint>,
) -> Result<(), CliError> {
    if task.needs_terminal() && !terminal::is_terminal(io::stdin()) {
        return Err(CliError::NotATerminal);
    }
    match &settings.guest_program {
        GuestProgram::Missing { places } if task.boots() && endpoint.is_none() => {
            Err(CliError::GuestProgramMissing {
                places: places.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// With `--json`, standard error is for error objects alone.
fn progress(flags: &GlobalArgs, environment: &Environment) -> Progress {
    if flags.quiet || flags.json || environment.no_progress {
        Progress::silent()
    } else if terminal::is_terminal(io::stderr()) {
        Progress::bars()
    } else {
        Progress::lines(io::stderr())
    }
}

/// Logs only what the user asked for.
fn start_log(filter: Option<&str>) {
    let Some(filter) = filter else {
        return;
    };
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(filter);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // only an embedder's own log can be there before
    let _other = log.try_init();
}

const fn setup(what: &'static str, source: io::Error) -> CliError {
    CliError::Setup { what, source }
}

fn write_text(text: &str) -> Result<u8, CliError> {
    let written = io::Write::write_all(&mut io::stdout().lock(), text.as_bytes());
    let written = written.map_err(|source| CliError::Output {
        stream: "standard output",
        source,
    });
    written.map(|()| exit::SUCCESS)
}

fn complain(error: &CliError, json: bool) {
    let report = Report::of(error);
    let text = if json { report.json() } else { report.human() };
    // there is nobody left to tell
    let _unseen = io::Write::write_all(&mut io::stderr().lock(), text.as_bytes());
}
