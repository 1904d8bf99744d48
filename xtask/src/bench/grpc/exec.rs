//! A command's input and output through the service, beside `banger vm exec`, which
//! needs none.

use super::{
    super::{
        host::{Host, Machine},
        report::{Row, Section},
        vm::streams::{into, out_of},
    },
    client::Client,
    daemon::Daemon,
};
use crate::{
    Result,
    paths::testbed,
    run::{capture, step},
};

const NAME: &str = "busybox";
const OPTIONS: [&str; 6] = ["--backend", "qemu", "--boot", "agent", "--network", "none"];
const MEBIBYTE: usize = 1 << 20;

/// MB/s of each way.
#[derive(Debug, Default)]
struct Rates {
    through: [Vec<f64>; 2],
    embedded: [Vec<f64>; 2],
}

pub(super) fn measure(host: &Host, rounds: u16, mebibytes: u16) -> Result<Section> {
    host.pull(&testbed().join(NAME), NAME)?;
    let daemon = Daemon::start(host)?;
    let machine = Machine::create(host, NAME, NAME, &OPTIONS)?;
    let mut start = host.command(&["vm", "start", NAME]);
    step("starting a guest", || capture(&mut start))?;
    machine.note_backend()?;
    let client = Client::of(host, &daemon);
    let rates = step("streaming", || take(host, &client, rounds, mebibytes))?;
    Ok(Section {
        title: format!("Streams of {mebibytes} MiB through a command"),
        notes: vec![
            "embedded: the whole program; through the service: from the request for the command to its end; more is better".to_owned(),
        ],
        rows: rates.rows()?,
    })
}

fn take(host: &Host, client: &Client, rounds: u16, mebibytes: u16) -> Result<Rates> {
    let (bytes, size) = (usize::from(mebibytes) * MEBIBYTE, mebibytes.to_string());
    // in bytes: not every head knows M
    let source = format!("head -c {bytes} /dev/zero");
    let vm = format!("vms/{NAME}");
    let embedded =
        |script: &str| host.command(&["vm", "exec", "-i", NAME, "--", "sh", "-c", script]);
    let mut rates = Rates::default();
    for _ in 0..rounds {
        let samples = client.ask(&["exec", &vm, "--mebibytes", &size])?;
        for (rates, way) in rates.through.iter_mut().zip(["in", "out"]) {
            rates.push(samples.single(way)?);
        }
        let [in_rates, out_rates] = &mut rates.embedded;
        in_rates.push(into(&mut embedded("cat > /dev/null"), bytes)?);
        out_rates.push(out_of(&mut embedded(&source), bytes)?);
    }
    Ok(rates)
}

impl Rates {
    fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let ways = ["into the guest", "out of the guest"];
        for ((through, embedded), way) in self.through.iter().zip(&self.embedded).zip(ways) {
            let base = Row::of(format!("banger vm exec, {way}"), "MB/s", embedded)?;
            let row = Row::of(format!("the service, {way}"), "MB/s", through)?;
            rows.extend([base.clone(), row.against(&base)]);
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn each_way_is_compared_with_its_own() {
        let rates = Rates {
            through: [vec![20.0], vec![30.0]],
            embedded: [vec![40.0], vec![15.0]],
        };
        let medians: Vec<f64> = rates.rows().unwrap().iter().map(Row::median).collect();
        assert_eq!(medians, [40.0, 20.0, 15.0, 30.0]);
    }
}
