//! The Linux guest in which commands run: a Debian with an ssh server, on a user
//! network whose port 22 is published on loopback.

use super::{
    host::{Host, Machine},
    ssh::Ssh,
    start::log,
    timeline::{self, vmm},
};
use crate::{
    Result,
    paths::bench,
    run::{capture, step},
    testbed::{self, Part, debian},
};

const IMAGE: &str = "with-ssh";
const OPTIONS: [&str; 6] = ["--backend", "qemu", "--boot", "agent", "--publish", "22"];

/// The guest, and the way to it by ssh.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    // dropped first: its connection ends before the guest does
    pub(super) ssh: Ssh,
    pub(super) host: &'a Host,
    pub(super) machine: Machine<'a>,
    pub(super) vmm: u32,
}

impl<'a> Guest<'a> {
    pub(super) fn start(host: &'a Host) -> Result<Self> {
        let part = Part {
            name: IMAGE,
            what: "making a Debian image with an ssh server",
            recipe: debian::ssh_recipe()?,
            make: &debian::make_ssh,
        };
        let layout = testbed::provide(&bench().join("images"), &part)?;
        host.pull(&layout, IMAGE)?;
        let machine = Machine::create(host, IMAGE, IMAGE, &OPTIONS)?;
        let mut start = host.command(&["vm", "start", &machine.name]);
        start.env("BANGER_LOG", timeline::FILTER);
        step("starting a guest", || capture(&mut start))?;
        machine.note_backend()?;
        let vmm = vmm(&log(&machine)?)?;
        let ssh = step("starting its ssh server", || Ssh::start(host, &machine))?;
        Ok(Self {
            ssh,
            host,
            machine,
            vmm,
        })
    }
}
