//! The network interface: found by its hardware address, given its address and
//! the way out.

mod route;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use banger_proto::rtnetlink;

use super::{boot_config::Network, stage::Cause};
use crate::files;
use route::Route;

/// Where the kernel lists interfaces.
const INTERFACES: &str = "/sys/class/net";
/// How long the interface may take to appear.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked.
const PERIOD: Duration = Duration::from_millis(5);

/// An interface that did not appear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no interface with address {wanted} appeared within 15 s")]
pub(super) struct MissingInterface {
    wanted: String,
}

/// Gives the interface what the host wants.
pub(super) fn apply(network: &Network) -> Result<(), Cause> {
    let directory = wait_for(&network.hardware_address)?;
    let shown = directory.display();
    let index = index(&directory).map_err(Cause::of("read the index of", &shown))?;
    let route = Route::open().map_err(Cause::of("open", "rtnetlink"))?;
    let ask = |action, request: Vec<u8>| {
        let answered = route.ask(&request);
        answered.map_err(Cause::of(action, &shown))
    };
    ask(
        "give an address to",
        rtnetlink::new_address(index, network.address, network.prefix),
    )?;
    ask("raise", rtnetlink::raise(index))?;
    ask(
        "lead the way out through",
        rtnetlink::default_route(index, network.gateway),
    )
}

fn wait_for(wanted: &str) -> Result<PathBuf, MissingInterface> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(directory) = find(Path::new(INTERFACES), wanted) {
            return Ok(directory);
        }
        if end <= Instant::now() {
            let wanted = wanted.to_owned();
            return Err(MissingInterface { wanted });
        }
        std::thread::sleep(PERIOD);
    }
}

fn find(directory: &Path, wanted: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let interfaces = entries.filter_map(Result::ok).map(|entry| entry.path());
    let has_address = |interface: &PathBuf| {
        let address = files::read(&interface.join("address"));
        address.is_ok_and(|address| address.trim_ascii() == wanted.as_bytes())
    };
    interfaces.into_iter().find(has_address)
}

fn index(interface: &Path) -> io::Result<u32> {
    let content = files::read(&interface.join("ifindex"))?;
    let text = String::from_utf8_lossy(&content);
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_found_among_others() {
        let top = tempfile::tempdir().unwrap();
        for (name, address, index) in [
            ("lo", "00:00:00:00:00:00\n", "1\n"),
            ("eth0", "02:00:00:00:00:07\n", "2\n"),
        ] {
            let interface = top.path().join(name);
            fs::create_dir(&interface).unwrap();
            fs::write(interface.join("address"), address).unwrap();
            fs::write(interface.join("ifindex"), index).unwrap();
        }
        let found = find(top.path(), "02:00:00:00:00:07").unwrap();
        assert_eq!(found.file_name().unwrap(), "eth0");
        assert_eq!(index(&found).unwrap(), 2);
        assert_eq!(find(top.path(), "02:00:00:00:00:08"), None);
    }
}
