//! banger with a state of its own: images, machines, and timed commands.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde_json::Value;

use super::program::banger;
use crate::{
    Result,
    paths::{failed_at, testbed},
    run::{capture, say, step},
};

/// The kernel of every Linux guest.
const KERNEL: &str = "linux";

/// A state directory with a kernel in it.
#[derive(Debug)]
pub(super) struct Host {
    directory: PathBuf,
    /// How banger said that it ran Linux guests.
    backend: RefCell<Option<String>>,
}

impl Host {
    pub(super) fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(failed_at(directory))?;
        let host = Self {
            directory: directory.to_owned(),
            backend: RefCell::default(),
        };
        let package = testbed().join("kernel/kernel.deb");
        let source = format!("deb:{}", package.display());
        step("importing the kernel", || {
            host.text(&["kernel", "import", &source, "--name", KERNEL])
        })?;
        Ok(host)
    }

    /// Has banger's configuration be this.
    pub(super) fn configure(&self, text: &str) -> Result<()> {
        let directory = self.directory.join("config/banger");
        fs::create_dir_all(&directory).map_err(failed_at(&directory))?;
        let file = directory.join("config.toml");
        fs::write(&file, text).map_err(failed_at(&file))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How Linux guests ran, when one did.
    pub(super) fn backend(&self) -> Option<String> {
        self.backend.borrow().clone()
    }

    /// Pulls an image from a layout.
    pub(super) fn pull(&self, layout: &Path, name: &str) -> Result<()> {
        let source = format!("oci:{}:latest", layout.display());
        let pull = ["image", "pull", &source, "--name", name, "--kernel", KERNEL];
        step(&format!("pulling the {name} image"), || self.text(&pull)).map(drop)
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let firecracker = testbed().join("firecracker/firecracker");
        let mut command = banger(&self.directory);
        command
            .args(arguments)
            .env("BANGER_FIRECRACKER", firecracker);
        command
    }

    pub(super) fn text(&self, arguments: &[&str]) -> Result<String> {
        capture(&mut self.command(arguments))
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.text(&[&["--json"], arguments].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("banger printed {text}: {error}"))
    }

    /// Milliseconds that a command takes, its own start included.
    pub(super) fn timed(&self, arguments: &[&str]) -> Result<f64> {
        timed(&mut self.command(arguments))
    }
}

/// Milliseconds that a command takes to its end.
pub(super) fn timed(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    capture(command)?;
    Ok(milliseconds(started))
}

/// Milliseconds since then.
pub(super) fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1000.0
}

/// A machine; it is deleted with the value.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    host: &'a Host,
    pub(super) name: String,
    id: String,
}

impl<'a> Machine<'a> {
    pub(super) fn create(
        host: &'a Host,
        name: &str,
        image: &str,
        options: &[&str],
    ) -> Result<Self> {
        host.text(&[&["vm", "create", image, "--name", name], options].concat())?;
        let shown = host.json(&["vm", "show", name])?;
        let id = shown["id"].as_str().ok_or("a VM without an id")?;
        Ok(Self {
            host,
            name: name.to_owned(),
            id: id.to_owned(),
        })
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> PathBuf {
        self.host.directory.join("state/vms").join(&self.id)
    }

    /// Keeps in mind how it runs.
    pub(super) fn note_backend(&self) -> Result<()> {
        let shown = self.host.json(&["vm", "show", &self.name])?;
        let backend = &shown["backend"];
        let word = |name: &str| backend[name].as_str().unwrap_or_default();
        let words = format!("{}: {}", word("name"), word("reason"));
        self.host.backend.replace(Some(words));
        Ok(())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let deleted = self
            .host
            .text(&["vm", "delete", "--force", &self.name])
            .map(drop);
        if let Err(problem) = deleted {
            say(&format!("a machine is left: {problem}"));
        }
    }
}
