//! ssh to a guest: a server that banger starts there with a key of this run,
//! and a kept connection (`ControlMaster`), the best that ssh can do.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::host::{Host, Machine};
use crate::{
    Result,
    run::{capture, command},
};

/// How long the server may take to let somebody in.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often is tried until then.
const PERIOD: Duration = Duration::from_millis(200);

/// Lets the key on standard input in, and makes what sshd wants.
const PREPARE: &str = "umask 077; mkdir -p /root/.ssh; cat > /root/.ssh/authorized_keys; \
                       chown -R 0:0 /root; chmod 700 /root; umask 022; mkdir -p /run/sshd";

/// A way to a guest; the kept connection ends with the value.
#[derive(Debug)]
pub(super) struct Ssh {
    directory: PathBuf,
    port: u64,
    master: Option<Child>,
}

impl Ssh {
    pub(super) fn start(host: &Host, machine: &Machine<'_>) -> Result<Self> {
        let directory = host.directory().to_owned();
        let key = make_key(&directory)?;
        let prepare = ["vm", "exec", "-i", &machine.name, "--", "sh", "-c", PREPARE];
        feed(&mut host.command(&prepare), key.as_bytes())?;
        let server = ["--", "/usr/sbin/sshd", "-D", "-e"];
        host.text(&[&["vm", "exec", "--detach", &machine.name], &server[..]].concat())?;
        let ports = host.json(&["vm", "ports", &machine.name])?;
        let mut ssh = Self {
            directory,
            port: published(&ports).ok_or_else(|| format!("no port is published: {ports}"))?,
            master: None,
        };
        ssh.wait_until_in()?;
        ssh.keep_a_connection()?;
        Ok(ssh)
    }

    /// A command over a connection of its own.
    pub(super) fn fresh(&self, arguments: &[&str]) -> Command {
        let mut ssh = self.client(&["-o", "ControlPath=none"]);
        ssh.args(arguments);
        ssh
    }

    /// A command over the connection that is kept.
    pub(super) fn kept(&self, arguments: &[&str]) -> Command {
        let mut ssh = self.client(&["-o", "ControlMaster=no", "-S", "ssh.control"]);
        ssh.args(arguments);
        ssh
    }

    fn client(&self, options: &[&str]) -> Command {
        let mut ssh = command("ssh", &self.directory);
        ssh.args(["-F", "none", "-i", "ssh.key", "-p", &self.port.to_string()])
            .args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(options)
            .arg("root@127.0.0.1");
        ssh
    }

    fn wait_until_in(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            match capture(&mut self.fresh(&["true"])) {
                Err(error) if DEADLINE < started.elapsed() => return Err(error),
                Err(_) => thread::sleep(PERIOD),
                Ok(_) => return Ok(()),
            }
        }
    }

    fn keep_a_connection(&mut self) -> Result<()> {
        let mut master = self.client(&["-N", "-M", "-S", "ssh.control"]);
        master.stdin(Stdio::null()).stdout(Stdio::null());
        let spawned = master.spawn();
        self.master = Some(spawned.map_err(|error| format!("ssh cannot be started: {error}"))?);
        let started = Instant::now();
        loop {
            match capture(&mut self.client(&["-S", "ssh.control", "-O", "check"])) {
                Err(error) if DEADLINE < started.elapsed() => return Err(error),
                Err(_) => thread::sleep(PERIOD),
                Ok(_) => return Ok(()),
            }
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        if let Some(mut master) = self.master.take() {
            // one that has ended by itself needs no more
            if master.kill().is_ok() {
                drop(master.wait());
            }
        }
    }
}

/// Makes a key, and answers its public half.
fn make_key(directory: &Path) -> Result<String> {
    let make = [
        "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", "ssh.key",
    ];
    capture(command("ssh-keygen", directory).args(make))?;
    capture(command("cat", directory).arg("ssh.key.pub"))
}

/// Runs a command with something on its standard input.
pub(super) fn feed(command: &mut Command, input: &[u8]) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let status = child.wait().map_err(|error| error.to_string())?;
    match written {
        Some(Ok(())) if status.success() => Ok(()),
        written => Err(format!("{command:?} ended with {status}: {written:?}")),
    }
}

/// The port of the host that leads to the guest's 22.
fn published(ports: &Value) -> Option<u64> {
    let mut ports = ports.as_array()?.iter();
    let port = ports.find(|port| port["guest_port"] == 22)?;
    port["host_port"].as_u64()
}

#[cfg(test)]
mod checks {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_of_the_server_is_found() {
        let ports = json!([
            {"guest_port": 80, "host_port": 1},
            {"guest_port": 22, "host_port": 4321},
        ]);
        assert_eq!(published(&ports), Some(4321));
        assert_eq!(published(&json!([])), None);
        let unbound = json!([{"guest_port": 22, "host_port": null}]);
        assert_eq!(published(&unbound), None);
    }
}
