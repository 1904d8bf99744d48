//! Making a machine: its record and the disk that takes its writes, which is a
//! sparse file of its own beside the image's disk, however large that is.

use std::{fs::File, path::Path};

use super::{
    host::{Host, timed},
    report::{Row, Section},
};
use crate::{
    Result,
    paths::{failed_at, workspace},
    run::{capture, command, step},
};

/// Milliseconds for a record and its disk.
const TARGET: f64 = 10.0;

/// Images by the size of their disks.
const IMAGES: [(&str, &str); 2] = [("disk-64m", "64M"), ("disk-256g", "256G")];

/// What is compared, in one round.
#[derive(Debug, Default)]
struct Samples {
    version: Vec<f64>,
    list: Vec<f64>,
    create: [Vec<f64>; IMAGES.len()],
}

pub(super) fn measure(host: &Host, rounds: u16) -> Result<Section> {
    for (name, size) in IMAGES {
        step(&format!("registering an image of {size}"), || {
            register(host, name, size)
        })?;
    }
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.version.push(host.timed(&["--version"])?);
        samples.list.push(host.timed(&["vm", "list"])?);
        for ((image, _), taken) in IMAGES.iter().zip(&mut samples.create) {
            taken.push(create(host, image)?);
        }
    }
    Ok(Section {
        title: "Making a machine and its disk (overlay)".to_owned(),
        notes: vec![
            "each is the whole program, its start included; `vm list` does all the same but the making".to_owned(),
        ],
        rows: samples.rows()?,
    })
}

impl Samples {
    fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = vec![
            Row::of("banger --version", "ms", &self.version)?,
            Row::of("banger vm list", "ms", &self.list)?,
        ];
        let mut first: Option<Row> = None;
        for ((_, size), taken) in IMAGES.iter().zip(&self.create) {
            let name = format!("banger vm create, image of {size}");
            let row = Row::of(name, "ms", taken)?.with_p99(taken);
            rows.push(match &first {
                None => row.clone(),
                Some(first) => row.clone().against(first),
            });
            first.get_or_insert(row);
            let made = self.beyond_list(taken);
            let row = Row::of("  the record and its disk, beyond vm list", "ms", &made)?;
            rows.push(row.with_p99(&made).at_most(TARGET));
        }
        Ok(rows)
    }

    /// What the same round's `vm list` did not take.
    fn beyond_list(&self, taken: &[f64]) -> Vec<f64> {
        let pairs = taken.iter().zip(&self.list);
        pairs.map(|(create, list)| create - list).collect()
    }
}

/// Milliseconds; the machine is deleted untimed.
fn create(host: &Host, image: &str) -> Result<f64> {
    let mut create = host.command(&["vm", "create", image, "--name", "created"]);
    create.args(["--network", "none"]);
    let taken = timed(&mut create)?;
    host.text(&["vm", "delete", "created"])?;
    Ok(taken)
}

/// An image with an empty file system of a size.
fn register(host: &Host, name: &str, size: &str) -> Result<()> {
    let disk = host.directory().join(format!("{name}.ext4"));
    make_disk(&disk, size)?;
    let mut register = host.command(&["image", "register", name, "--rootfs"]);
    register.arg(&disk).args(["--kernel", "linux"]);
    capture(&mut register).map(drop)
}

fn make_disk(path: &Path, size: &str) -> Result<()> {
    File::create(path).map_err(failed_at(path))?;
    capture(
        command("mkfs.ext4", workspace())
            .args(["-q", "-F"])
            .arg(path)
            .arg(size),
    )
    .map(drop)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_larger_image_is_compared_with_the_smaller() {
        let samples = Samples {
            version: vec![1.0],
            list: vec![4.0],
            create: [vec![8.0], vec![10.0]],
        };
        let rows = samples.rows().unwrap();
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(medians, [1.0, 4.0, 8.0, 4.0, 10.0, 6.0]);
    }
}
