//! The machine's first process.
//!
//! Purpose: from the kernel's hand-over to a served root file system, and from
//! there to power-off. Invariants: every stage has a name, and one that fails
//! says so in one console line and powers the machine off; process 1 has no
//! thread and no runtime, so that its reaping never competes with the agent's.
//! Entry point: [`run`].
//!
//! The agent is a fork of process 1, made before anything starts a thread. It
//! needs no second program file, so the initramfs can be emptied.

mod boot_config;
mod disks;
mod modules;
mod mounts;
mod names;
mod power;
mod power_button;
mod root;
mod stage;
mod supervise;

use std::{path::Path, process::ExitCode};

use rustix::process::Resource;

use crate::{
    agent::{self, Ended},
    console, files,
    sys::{self, signals},
};
use boot_config::Config;
use root::Root;
use stage::{Cause, During as _, Failure, Stage};

/// What the host wrote for this boot.
const CONFIG: &str = "/banger/boot.pb";
/// Open files that a process may have, and may raise itself to.
const OPEN_FILES: (u64, u64) = (65_536, 1_048_576);
/// Keeps the agent from being chosen when memory runs out (proc(5)).
const NEVER_KILLED: &[u8] = b"-1000";

/// Brings the machine up, serves it, powers it off. Returns only when the
/// program is not the first process, and then has done nothing.
#[must_use]
pub fn run() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        console::line("this is the init of a virtual machine and does nothing elsewhere");
        return ExitCode::FAILURE;
    }
    let held = supervise::hold_signals();
    let root = match bring_up() {
        Ok((config, root)) => {
            if let Err(failure) = serve(&config, held) {
                console::line(failure);
            }
            Some(root)
        }
        Err(failure) => {
            console::line(failure);
            None
        }
    };
    power::off(held, root)
}

fn bring_up() -> Result<(Config, Root), Failure> {
    mounts::early().during(Stage::Mounts)?;
    let config = read_config().during(Stage::BootConfig)?;
    modules::load(&config.modules).during(Stage::Modules)?;
    let disks = disks::find(&config.root).during(Stage::Disks)?;
    let root = root::mount(&disks).during(Stage::Root)?;
    root::switch().during(Stage::SwitchRoot)?;
    mounts::system().during(Stage::System)?;
    settle(&config)?;
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

fn serve(config: &Config, held: signals::Held) -> Result<(), Failure> {
    let _buttons = power_button::watch(libc::SIGPWR);
    let fork = sys::fork().map_err(Cause::of("fork", "the agent"));
    let Some(agent) = fork.during(Stage::Agent)? else {
        be_agent(&config.channel_port)
    };
    supervise::until_end(agent, held);
    Ok(())
}

#[expect(clippy::exit, reason = "a fork must not return into init")]
fn be_agent(channel_port: &str) -> ! {
    signals::release_all();
    drop(std::fs::write("/proc/self/oom_score_adj", NEVER_KILLED));
    let code = match agent::run(channel_port) {
        Ok(Ended::PowerOff) => 0,
        Ok(Ended::HostGone) => {
            console::line("the host closed the channel");
            0
        }
        Err(error) => {
            console::line(Failure::new(
                Stage::Agent,
                Cause::of("open", channel_port)(error),
            ));
            1
        }
    };
    std::process::exit(code)
}
