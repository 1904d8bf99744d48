//! A command's round trip, beside ssh: `/bin/true` in the same guest, each as
//! the whole program of a user.

use super::{
    guest::Guest,
    host::timed,
    report::{Row, Section},
};
use crate::{
    Result,
    paths::workspace,
    run::{command, step},
};

/// A new connection is made once for so many other commands: it takes long.
const FRESH_SHARE: u16 = 10;

/// Milliseconds of each way.
#[derive(Debug, Default)]
struct Samples {
    exec: Vec<f64>,
    kept: Vec<f64>,
    fresh: Vec<f64>,
    version: Vec<f64>,
    ssh_version: Vec<f64>,
}

pub(super) fn measure(guest: &Guest<'_>, calls: u16) -> Result<Section> {
    let samples = step("running commands", || take(guest, calls))?;
    Ok(Section {
        title: format!("Round trip of a command: /bin/true, {calls} calls in turn"),
        notes: vec![
            "ssh: over a connection that is kept (ControlMaster), through a published port; the guest is the same".to_owned(),
            "each is the whole program, whose mere start is shown as well".to_owned(),
        ],
        rows: samples.rows()?,
    })
}

fn take(guest: &Guest<'_>, calls: u16) -> Result<Samples> {
    let exec = ["vm", "exec", &guest.machine.name, "--", "/bin/true"];
    let mut samples = Samples::default();
    for call in 0..calls {
        samples.exec.push(guest.host.timed(&exec)?);
        samples
            .kept
            .push(timed(&mut guest.ssh.kept(&["/bin/true"]))?);
        if call % FRESH_SHARE == 0 {
            let mut fresh = guest.ssh.fresh(&["/bin/true"]);
            samples.fresh.push(timed(&mut fresh)?);
            samples.version.push(guest.host.timed(&["--version"])?);
            let mut version = command("ssh", workspace());
            samples.ssh_version.push(timed(version.arg("-V"))?);
        }
    }
    Ok(samples)
}

impl Samples {
    fn rows(&self) -> Result<Vec<Row>> {
        let row = |name: &str, values: &[f64]| {
            Row::of(name, "ms", values).map(|row| row.with_p99(values))
        };
        let kept = row("ssh, connection kept", &self.kept)?;
        let exec = row("banger vm exec", &self.exec)?.against(&kept);
        let fresh = row("ssh, new connection", &self.fresh)?.against(&kept);
        Ok(vec![
            kept,
            exec,
            fresh,
            Row::of("  banger --version", "ms", &self.version)?,
            Row::of("  ssh -V", "ms", &self.ssh_version)?,
        ])
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn ssh_is_what_exec_is_compared_with() {
        let samples = Samples {
            exec: vec![10.0, 30.0],
            kept: vec![40.0],
            fresh: vec![400.0],
            version: vec![1.0],
            ssh_version: vec![2.0],
        };
        let rows = samples.rows().unwrap();
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(medians, [40.0, 20.0, 400.0, 1.0, 2.0]);
    }
}
