//! A registry on loopback, filled with what is measured.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, Stdio},
    thread,
};

use crate::{
    Result,
    paths::failed_at,
    run::{capture, command},
};

/// A running `docker-registry`; it ends with the value.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    pub(super) host: String,
}

impl Registry {
    /// Starts one that keeps its blobs below `directory`.
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let config = directory.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            directory.join("registry").display()
        );
        fs::write(&config, text).map_err(failed_at(&config))?;
        let mut child = command("docker-registry", directory)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("docker-registry cannot be started: {error}"))?;
        let log = child.stderr.take().map(BufReader::new);
        let host = log.and_then(listening_address);
        let registry = Self {
            child,
            host: host.unwrap_or_default(),
        };
        if registry.host.is_empty() {
            return Err("docker-registry ended before it listened".to_owned());
        }
        Ok(registry)
    }

    /// Copies the image of a layout there and answers its reference.
    pub(super) fn push(&self, layout: &str, name: &str) -> Result<String> {
        let reference = format!("{}/{name}", self.host);
        let options = ["copy", "--dest-tls-verify=false", "--insecure-policy"];
        capture(
            command("skopeo", Path::new("/"))
                .args(options)
                .arg(layout)
                .arg(format!("docker://{reference}")),
        )?;
        Ok(reference)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // one that has ended by itself needs no more
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Reads the address from the registry's own log, and drains the log from then
/// on.
fn listening_address(mut log: BufReader<ChildStderr>) -> Option<String> {
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|read| 0 < read) {
        if let Some(address) = address(&line) {
            thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
            return Some(address);
        }
        line.clear();
    }
    None
}

fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let is_address = |c: &char| c.is_ascii_digit() || matches!(c, '.' | ':');
    Some(rest.chars().take_while(is_address).collect())
}

#[cfg(test)]
mod checks {
    use super::address;

    #[test]
    fn the_address_is_what_the_log_says() {
        let line = "level=info msg=\"listening on 127.0.0.1:4321\" go.version=go1";
        assert_eq!(address(line).as_deref(), Some("127.0.0.1:4321"));
        assert_eq!(address("level=info msg=redis"), None);
    }
}
