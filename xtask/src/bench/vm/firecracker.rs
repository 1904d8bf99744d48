//! Starting a tiny guest on Firecracker: banger beside Firecracker by hand.
//!
//! The guest runs wherever `/dev/kvm` opens, also where Linux does not.
//! Banger's side lasts until its program has ended, too. Invariants: by hand
//! Firecracker gets the command line that banger gave it once, and asks for the
//! same devices, over one connection.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Instant,
};

use serde_json::{Value, json};

use super::{
    by_hand::Vmm,
    host::{Host, milliseconds},
    processes::arguments,
    report::{Row, Section},
    start::{Comparison, log, start},
    timeline::{LAUNCHED, vmm},
    tiny::{self, DEADLINE, KERNEL, MEBIBYTES, disk, path, wait_for},
};
use crate::{Result, paths::failed_at};

/// banger's own cost on top of Firecracker.
const TARGET: f64 = 25.0;
/// Most bytes of an answer's head.
const HEAD_LIMIT: usize = 4096;

const BACKEND: &str = "firecracker";

/// Why it cannot be measured here.
pub(super) fn obstacle() -> Option<String> {
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    opened.err().map(|error| format!("/dev/kvm: {error}"))
}

pub(super) fn measure(host: &Host, rounds: u16) -> Result<Section> {
    tiny::register(host)?;
    host.configure("[jail]\nmode = \"never\"\n")?;
    let template = tiny::create(host, "template", BACKEND)?;
    start(host, &template, LAUNCHED, || Ok(()))?;
    let vmm = vmm(&log(&template)?)?;
    let command_line = arguments(vmm)?;
    let directory = fs::read_link(format!("/proc/{vmm}/cwd"));
    let directory = directory.map_err(|error| format!("process {vmm}: {error}"))?;
    host.text(&["vm", "kill", &template.name])?;
    let comparison = Comparison::measure(
        "Firecracker",
        rounds,
        |_| tiny::by_banger(host, BACKEND),
        |_| by_hand(host, &command_line, &directory),
    )?;
    let mut rows = comparison.rows("the machine was launched", Some(TARGET), TARGET)?;
    host.configure("[jail]\nmode = \"always\"\n")?;
    let jailed: Result<Vec<f64>> = (0..rounds)
        .map(|_| tiny::by_banger(host, BACKEND).map(|start| start.total))
        .collect();
    rows.push(Row::of("banger vm start, in a jail", "ms", &jailed?)?);
    host.configure("")?;
    Ok(Section {
        title: "Start of a tiny guest on Firecracker".to_owned(),
        notes: vec![
            "bare: Firecracker with banger's command line, told the same over one connection, until its guest's first word".to_owned(),
            "banger: the whole program, until it ended and the word is in the console's log".to_owned(),
        ],
        rows,
    })
}

/// Milliseconds from Firecracker's start to its guest's first word.
fn by_hand(host: &Host, command_line: &[String], old: &Path) -> Result<f64> {
    let machine = tiny::create(host, "by-hand", BACKEND)?;
    let directory = path(host, "runtime/by-hand");
    fs::create_dir_all(&directory).map_err(failed_at(&directory))?;
    let disk = disk(&machine)?;
    for (name, file) in [("disk0", disk), ("kernel", path(host, KERNEL))] {
        let link = directory.join(name);
        symlink(&file, &link).map_err(failed_at(&link))?;
    }
    let channel = directory.join("vsock_1024");
    let _channel = UnixListener::bind(&channel).map_err(failed_at(&channel))?;
    let (from, to) = (old.display().to_string(), directory.display().to_string());
    let arguments: Vec<String> = command_line
        .iter()
        .map(|word| word.replace(&from, &to))
        .collect();
    let started = Instant::now();
    let (vmm, mut console) = Vmm::spawn(&arguments, &directory)?;
    launch(&directory.join("api.sock"))?;
    let read = console.read_exact(&mut [0]);
    read.map_err(|error| format!("Firecracker's guest said nothing: {error}"))?;
    let taken = milliseconds(started);
    drop(vmm);
    fs::remove_dir_all(&directory).map_err(failed_at(&directory))?;
    Ok(taken)
}

/// Tells Firecracker what to run.
fn launch(socket: &Path) -> Result<()> {
    let mut connected = None;
    wait_for("Firecracker's socket", || {
        connected = UnixStream::connect(socket).ok();
        connected.is_some()
    })?;
    let mut stream = connected.ok_or("Firecracker does not listen")?;
    let failed = failed_at(socket);
    stream.set_read_timeout(Some(DEADLINE)).map_err(&failed)?;
    for (path, body) in requests() {
        let request = request(path, &body);
        stream.write_all(request.as_bytes()).map_err(&failed)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(&failed)?;
            head.extend(byte);
        }
        if !head.starts_with(b"HTTP/1.1 204") {
            let head = String::from_utf8_lossy(&head);
            return Err(format!("Firecracker answered PUT {path} with {head}"));
        }
    }
    Ok(())
}

/// What banger asks for, too.
fn requests() -> [(&'static str, Value); 6] {
    let drive = json!({
        "drive_id": "disk0", "path_on_host": "disk0", "is_root_device": false,
        "is_read_only": false, "cache_type": "Writeback",
    });
    let source = json!({"kernel_image_path": "kernel", "boot_args": "console=ttyS0"});
    [
        (
            "/machine-config",
            json!({"vcpu_count": 1, "mem_size_mib": MEBIBYTES}),
        ),
        ("/boot-source", source),
        ("/drives/disk0", drive),
        ("/vsock", json!({"guest_cid": 3, "uds_path": "vsock"})),
        ("/entropy", json!({})),
        ("/actions", json!({"action_type": "InstanceStart"})),
    ]
}

fn request(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_is() {
        let request = request("/vsock", &json!({"a": 1}));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT /vsock HTTP/1.1\r\n"));
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
    }
}
