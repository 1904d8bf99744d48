//! The machine's first process.
//!
//! Purpose: from the kernel's hand-over to a served root file system, and from
//! there to power-off. Invariants: every stage has a name, and one that fails
//! says so in one console line and powers the machine off; process 1 has no
//! thread and no runtime, so that its reaping never competes with the agent's.
//! Entry point: [`run`].
//!
//! When the host asks for it, this process becomes the image's own init in the
//! end (`hand_over`), and all that follows is that one's.
//!
//! The agent is a fork of process 1, made before anything starts a thread. It
//! needs no second program file, so the initramfs can be emptied.

mod boot_config;
mod disks;
mod hand_over;
mod modules;
mod mounts;
mod names;
mod network;
mod power;
mod power_button;
mod resolver;
mod root;
mod stage;
mod supervise;
mod volumes;

use std::{convert::Infallible, path::Path, process::ExitCode, time::Duration};

use banger_proto::GUEST_GENERATION;
use rustix::process::Resource;

use crate::{
    agent::{self, Channel},
    console, files,
    sys::{self, signals},
};
use boot_config::Config;
use hand_over::{Init, Starting};
use power::End;
use root::Root;
use stage::{Cause, During as _, Failure, Stage};

/// What the host wrote for this boot.
const CONFIG: &str = "/banger/boot.pb";
/// Open files that a process may have, and may raise itself to.
const OPEN_FILES: (u64, u64) = (65_536, 1_048_576);
/// Keeps the agent from being chosen when memory runs out (proc(5)).
const NEVER_KILLED: &[u8] = b"-1000";

/// What a host asks that wants to know which protocol this program speaks.
const GENERATION: &str = "--generation";

/// Brings the machine up, serves it, powers it off. Returns only when the
/// program is not the first process, and then has only told the generation of its
/// protocol, if that was asked for.
#[must_use]
pub fn run() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        return elsewhere();
    }
    let began_after = agent::since_boot();
    let held = supervise::hold_signals();
    let (root, end) = match bring_up() {
        Ok((config, root)) => {
            let served = match &config.image_init {
                None => serve(&config, held, began_after),
                Some(argv) => hand_over(&config, argv, began_after).map(|never| match never {}),
            };
            if let Err(failure) = served {
                console::line(failure);
            }
            (Some(root), End::of(&config))
        }
        Err(failure) => {
            console::line(failure);
            (None, End::PowerOff)
        }
    };
    power::off(held, root, end)
}

/// What this program does where it is not the first process.
fn elsewhere() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == GENERATION)
    {
        let answer = format!("{GUEST_GENERATION}\n");
        let told = rustix::io::write(rustix::stdio::stdout(), answer.as_bytes());
        return if told.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    console::line("this is the init of a virtual machine and does nothing elsewhere");
    ExitCode::FAILURE
}

fn bring_up() -> Result<(Config, Root), Failure> {
    mounts::early().during(Stage::Mounts)?;
    let config = read_config().during(Stage::BootConfig)?;
    modules::load(&config.modules).during(Stage::Modules)?;
    let disks = disks::find(&config.root).during(Stage::Disks)?;
    let mut root = root::mount(&disks).during(Stage::Root)?;
    root::switch().during(Stage::SwitchRoot)?;
    mounts::system().during(Stage::System)?;
    settle(&config)?;
    volumes::mount(&config.volumes, &mut root).during(Stage::Volumes)?;
    Ok((config, root))
}

fn read_config() -> Result<Config, Cause> {
    let content = files::read(Path::new(CONFIG)).map_err(Cause::of("read", CONFIG))?;
    Ok(Config::parse(&content)?)
}

fn settle(config: &Config) -> Result<(), Failure> {
    names::apply(config).during(Stage::Names)?;
    let up = sys::raise_loopback().map_err(Cause::of("raise the interface", "lo"));
    up.during(Stage::Network)?;
    if let Some(network) = &config.network {
        network::apply(network).during(Stage::Network)?;
        resolver::apply(config, &network.resolvers);
    }
    raise_limits();
    Ok(())
}

fn raise_limits() {
    let (current, maximum) = OPEN_FILES;
    let limit = rustix::process::Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    // a kernel that allows fewer keeps its own, which is no reason to fail
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

#[expect(clippy::exit, reason = "a fork must not return into init")]
fn serve(config: &Config, held: signals::Held, began_after: Duration) -> Result<(), Failure> {
    let _buttons = power_button::watch(libc::SIGPWR);
    let fork = sys::fork().map_err(Cause::of("fork", "the agent"));
    let Some(agent) = fork.during(Stage::Agent)? else {
        std::process::exit(be_agent(&config.channel, began_after))
    };
    supervise::until_end(agent, held);
    Ok(())
}

/// Becomes the image's own init, beside an agent that asks that one to power
/// the machine off.
#[expect(clippy::exit, reason = "a fork must not return into init")]
fn hand_over(
    config: &Config,
    argv: &[String],
    began_after: Duration,
) -> Result<Infallible, Failure> {
    let init = Init::find(argv).during(Stage::Init)?;
    let starting = Starting::new().during(Stage::Init)?;
    let fork = sys::fork().map_err(Cause::of("fork", "the agent"));
    if fork.during(Stage::Agent)?.is_none() {
        if !starting.wait() {
            std::process::exit(1);
        }
        let code = be_agent(&config.channel, began_after);
        hand_over::ask_for_end(End::of(config));
        std::process::exit(code)
    }
    let failed = init.become_it().during(Stage::Init);
    starting.fail();
    // trying to become it let them go
    supervise::hold_signals();
    failed
}

/// Serves the host to its end; answers the exit status.
fn be_agent(channel: &Channel, began_after: Duration) -> i32 {
    signals::release_all();
    drop(std::fs::write("/proc/self/oom_score_adj", NEVER_KILLED));
    match agent::run(channel, began_after) {
        Ok(()) => 0,
        Err(error) => {
            console::line(Failure::new(
                Stage::Agent,
                Cause::of("open", channel)(error),
            ));
            1
        }
    }
}
