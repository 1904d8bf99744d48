//! Commands over strict doubles of the three services.

mod building;
mod copy;
mod doctor;
mod double;
mod plain;
mod ports;
mod run;

use std::{ffi::OsString, fs::File, os::fd::OwnedFd, sync::Arc};

use banger_core::{directories::Directories, oci::SourceOptions};
use camino::Utf8Path;
use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex},
    sync::mpsc,
};

use super::carry_out;
use crate::{
    args::{self, Parsed},
    console::Console,
    context::{Context, Style},
    error::CliError,
    exit,
    progress::Progress,
    requests::Task,
    services::Services,
    signals::{HostSignal, Signals},
};

use double::World;

/// What a command did.
struct Outcome {
    result: Result<u8, CliError>,
    stdout: String,
    stderr: String,
    surface: exit::Surface,
}

impl Outcome {
    /// The exit status banger would have.
    fn status(&self) -> u8 {
        match &self.result {
            Ok(status) => *status,
            Err(error) => exit::of_error(error, self.surface),
        }
    }
}

/// Directories that no test looks into.
fn nowhere() -> Directories {
    let nowhere = || camino::Utf8PathBuf::from("/nonexistent");
    Directories {
        state: nowhere(),
        cache: nowhere(),
        runtime: nowhere(),
    }
}

/// Asks to end, from the user of a command under test.
type User = mpsc::Sender<HostSignal>;

/// A command that is about to run.
struct Stage {
    context: Context,
    signals: Signals,
    user: User,
    _window: mpsc::Sender<()>,
    stdout: DuplexStream,
    stderr: DuplexStream,
}

impl Stage {
    fn new(world: &Arc<World>, stdin: OwnedFd, style: Style) -> Self {
        let (own_stdout, stdout) = duplex(1 << 20);
        let (own_stderr, stderr) = duplex(1 << 20);
        let (user, asked) = mpsc::channel(4);
        let (window, changed) = mpsc::channel(1);
        let services = Services {
            sources: Arc::new(SourceOptions::new(nowhere())),
            images: Arc::clone(world) as _,
            kernels: Arc::clone(world) as _,
            vms: Arc::clone(world) as _,
            builder: Arc::clone(world) as _,
            volumes: Arc::clone(world) as _,
            doctor: Arc::clone(world) as _,
            remote: None,
        };
        let context = Context {
            services,
            console: Console::new(stdin, own_stdout, own_stderr),
            progress: Progress::silent(),
            style,
        };
        Self {
            context,
            signals: Signals::from_channels(asked, changed),
            user,
            _window: window,
            stdout,
            stderr,
        }
    }

    async fn play(mut self, task: Task) -> Outcome {
        let surface = task.surface();
        let result = Box::pin(carry_out(&self.context, &mut self.signals, task)).await;
        drop(self.context);
        Outcome {
            result,
            stdout: all(self.stdout).await,
            stderr: all(self.stderr).await,
            surface,
        }
    }
}

async fn all(mut stream: DuplexStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn parse(line: &str) -> (Task, Style) {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let Parsed::Run(cli) = args::parse(&words).unwrap() else {
        panic!("{line} is no command");
    };
    let style = Style {
        json: cli.global.json,
        quiet: cli.global.quiet,
    };
    (
        Task::prepare(cli.command, Utf8Path::new("/here")).unwrap(),
        style,
    )
}

/// Carries a command line out.
async fn banger(world: &Arc<World>, line: &str) -> Outcome {
    let (task, style) = parse(line);
    Stage::new(world, null(), style).play(task).await
}
