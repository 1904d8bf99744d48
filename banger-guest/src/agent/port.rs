//! The virtio-serial port of the channel.
//!
//! The kernel gives each port a directory under `/sys/class/virtio-ports` with
//! the name the host chose, and a device `/dev/vportNpM`
//! (Documentation/ABI/testing/sysfs-class in Linux).

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Mode, OFlags},
};

use super::channel::Patience;
use crate::{descriptor::Descriptor, files};

const PORTS: &str = "/sys/class/virtio-ports";

/// Opens the port with this name once the host has its side open.
pub(super) async fn open(name: &str, patience: Patience) -> io::Result<Descriptor> {
    let port = loop {
        match find(Path::new(PORTS), name) {
            Some(device) if device.exists() => break device,
            _ => {
                let complaint = || format!("no virtio-serial port {name} appeared");
                patience.pause(complaint).await?;
            }
        }
    };
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let port = rustix::fs::open(&port, flags, Mode::empty())?;
    // until the host's side is known to be open, a read would claim its end
    while is_hung_up(&port)? {
        let complaint = || format!("the host did not open port {name}");
        patience.pause(complaint).await?;
    }
    Descriptor::new(port)
}

fn is_hung_up(port: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(port, PollFlags::OUT)];
    rustix::event::poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled
        .iter()
        .any(|one| one.revents().contains(PollFlags::HUP)))
}

fn find(ports: &Path, name: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(ports).ok()?.filter_map(Result::ok);
    let port = entries.find(|entry| {
        files::read(&entry.path().join("name"))
            .is_ok_and(|content| content.trim_ascii() == name.as_bytes())
    })?;
    Some(Path::new("/dev").join(port.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_name() {
        let ports = tempfile::tempdir().unwrap();
        for (port, name) in [("vport1p0", "console\n"), ("vport1p1", "banger.channel\n")] {
            let directory = ports.path().join(port);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("name"), name).unwrap();
        }
        fs::create_dir(ports.path().join("vport1p2")).unwrap();
        let found = find(ports.path(), "banger.channel");
        assert_eq!(found, Some(PathBuf::from("/dev/vport1p1")));
        assert_eq!(find(ports.path(), "banger"), None);
        assert_eq!(find(Path::new("/nonexistent"), "banger"), None);
    }
}
