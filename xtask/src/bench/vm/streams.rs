//! How fast a command's input and output flow, beside ssh: zeros into `cat` and
//! out of `head`, through the whole program of a user.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

use super::{
    guest::Guest,
    report::{Row, Section},
};
use crate::{Result, run::step};

const MEBIBYTE: usize = 1 << 20;
const SINK: &str = "cat > /dev/null";

/// MB/s of each way.
#[derive(Debug, Default)]
struct Samples {
    exec_in: Vec<f64>,
    ssh_in: Vec<f64>,
    exec_out: Vec<f64>,
    ssh_out: Vec<f64>,
}

pub(super) fn measure(guest: &Guest<'_>, rounds: u16, mebibytes: u16) -> Result<Section> {
    let samples = step("streaming", || take(guest, rounds, mebibytes))?;
    Ok(Section {
        title: format!("Streams of {mebibytes} MiB through a command"),
        notes: vec![
            "from the program's start to its end; ssh over the connection that is kept; more is better".to_owned(),
        ],
        rows: samples.rows()?,
    })
}

fn take(guest: &Guest<'_>, rounds: u16, mebibytes: u16) -> Result<Samples> {
    let name = guest.machine.name.as_str();
    let source = format!("head -c {mebibytes}M /dev/zero");
    let bytes = usize::from(mebibytes) * MEBIBYTE;
    let exec = |script: &str| {
        guest
            .host
            .command(&["vm", "exec", "-i", name, "--", "sh", "-c", script])
    };
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.exec_in.push(into(&mut exec(SINK), bytes)?);
        samples
            .ssh_in
            .push(into(&mut guest.ssh.kept(&[SINK]), bytes)?);
        samples.exec_out.push(out_of(&mut exec(&source), bytes)?);
        let mut ssh = guest.ssh.kept(&[&source]);
        samples.ssh_out.push(out_of(&mut ssh, bytes)?);
    }
    Ok(samples)
}

/// MB/s of a stream into a command.
pub(in super::super) fn into(command: &mut Command, bytes: usize) -> Result<f64> {
    let zeros = vec![0; MEBIBYTE];
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("a child without an input")?;
    for _ in 0..bytes / MEBIBYTE {
        let written = stdin.write_all(&zeros);
        written.map_err(|error| format!("{command:?}: {error}"))?;
    }
    drop(stdin);
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}"));
    }
    Ok(rate(bytes, started))
}

/// MB/s of a stream out of a command.
pub(in super::super) fn out_of(command: &mut Command, bytes: usize) -> Result<f64> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let mut stdout = child.stdout.take().ok_or("a child without an output")?;
    let copied = io::copy(&mut stdout, &mut io::sink()).map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() || u64::try_from(bytes) != Ok(copied) {
        return Err(format!(
            "{command:?} ended with {status} after {copied} bytes"
        ));
    }
    Ok(rate(bytes, started))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "streams have fewer than 2^52 bytes"
)]
fn rate(bytes: usize, started: Instant) -> f64 {
    bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
}

impl Samples {
    fn rows(&self) -> Result<Vec<Row>> {
        let row = |name: &str, values: &[f64]| Row::of(name, "MB/s", values);
        let ssh_in = row("ssh, into the guest", &self.ssh_in)?;
        let exec_in = row("banger vm exec -i, into the guest", &self.exec_in)?;
        let ssh_out = row("ssh, out of the guest", &self.ssh_out)?;
        let exec_out = row("banger vm exec, out of the guest", &self.exec_out)?;
        let (exec_in, exec_out) = (exec_in.against(&ssh_in), exec_out.against(&ssh_out));
        Ok(vec![ssh_in, exec_in, ssh_out, exec_out])
    }
}

#[cfg(test)]
mod checks {
    use super::*;
    use crate::{paths::workspace, run::command};

    #[test]
    fn a_stream_that_is_cut_is_no_measurement() {
        let shell = |script: &str| {
            let mut shell = command("sh", workspace());
            shell.args(["-c", script]);
            shell
        };
        assert!(out_of(&mut shell("head -c 1M /dev/zero"), MEBIBYTE).is_ok());
        assert!(out_of(&mut shell("head -c 1K /dev/zero"), MEBIBYTE).is_err());
        assert!(into(&mut shell(SINK), MEBIBYTE).is_ok());
        assert!(into(&mut shell("cat > /dev/null; exit 3"), MEBIBYTE).is_err());
    }
}
