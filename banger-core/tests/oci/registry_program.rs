//! A registry that others wrote, as long as a test needs it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, Command, Stdio},
    thread::JoinHandle,
};

use camino::Utf8Path;
use tempfile::TempDir;

/// User `ann` with secret `s3cret`, hashed by bcrypt.
const PASSWORDS: &str = "ann:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

/// A running `docker-registry` that wants credentials; it ends with the value.
pub(crate) struct DockerRegistry {
    child: Child,
    pub(crate) host: String,
    log: Option<JoinHandle<()>>,
    pub(crate) scratch: TempDir,
}

impl DockerRegistry {
    /// `tls` is a part of the configuration of its HTTP server.
    pub(crate) fn start_in(scratch: TempDir, tls: &str) -> Self {
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("passwords"), PASSWORDS).unwrap();
        let lock = format!("auth:\n  htpasswd:\n    realm: test\n    path: {root}/passwords\n");
        Self::start_with(scratch, &lock, tls)
    }

    /// The same, behind that lock, if any.
    pub(crate) fn start_with(scratch: TempDir, lock: &str, tls: &str) -> Self {
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n\
             storage:\n  filesystem:\n    rootdirectory: {root}/data\n\
             {lock}http:\n  addr: 127.0.0.1:0\n{tls}"
        );
        fs::write(root.join("config.yml"), config).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a server of the test's own")]
        let child = Command::new("docker-registry")
            .args(["serve", root.join("config.yml").as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("package docker-registry is needed: use `cargo xtask test`");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let host = listening_address(&mut log);
        Self {
            child,
            host,
            log: Some(std::thread::spawn(move || {
                drop(log.read_to_end(&mut Vec::new()));
            })),
            scratch,
        }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if let Some(log) = self.log.take() {
            log.join().unwrap();
        }
    }
}

/// Reads the address from the registry's own log.
fn listening_address(log: &mut BufReader<ChildStderr>) -> String {
    let mut all = String::new();
    loop {
        let start = all.len();
        let read = log.read_line(&mut all).unwrap();
        assert_ne!(read, 0, "docker-registry ended before it listened: {all}");
        if let Some((_, rest)) = all[start..].split_once("listening on ") {
            let is_address = |c: &char| c.is_ascii_digit() || matches!(c, '.' | ':');
            return rest.chars().take_while(is_address).collect();
        }
    }
}
