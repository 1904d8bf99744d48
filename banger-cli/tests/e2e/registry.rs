//! A real registry on the loopback interface.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use camino::Utf8Path;
use tempfile::TempDir;

/// User `ann` with password `s3cret`, hashed by bcrypt.
const PASSWORDS: &str = "ann:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

/// A running `docker-registry`; it ends with the value.
pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
    _scratch: TempDir,
}

impl Registry {
    /// Starts a registry on a free port.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one that lets in user `ann` with password `s3cret`.
    pub(crate) fn with_password() -> Self {
        Self::start_with("auth:\n  htpasswd:\n    realm: test\n    path: ROOT/passwords\n")
    }

    /// `auth` is a part of its configuration.
    fn start_with(auth: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let auth = auth.replace("ROOT", root.as_str());
        fs::write(root.join("passwords"), PASSWORDS).unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\n\
             {auth}http:\n  addr: 127.0.0.1:0\n"
        );
        let file = root.join("config.yml");
        fs::write(&file, config).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a server of the test's own")]
        let mut command = Command::new("docker-registry");
        command
            .args(["serve", file.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .expect("package docker-registry is needed: use `cargo xtask test`");
        let host = listening_address(&mut child);
        Self {
            child,
            host,
            _scratch: scratch,
        }
    }

    /// Copies an image of a layout there and answers its reference.
    pub(crate) fn push(&self, layout: &str, name: &str) -> String {
        self.push_as(layout, name, &[])
    }

    /// The same, with further options of `skopeo copy`.
    pub(crate) fn push_as(&self, layout: &str, name: &str, options: &[&str]) -> String {
        let reference = format!("{}/{name}", self.host);
        #[expect(
            clippy::disallowed_methods,
            reason = "the tool that fills the registry"
        )]
        let output = Command::new("skopeo")
            .args(["copy", "--dest-tls-verify=false", "--insecure-policy"])
            .args(options)
            .args([layout, &format!("docker://{reference}")])
            .output()
            .expect("package skopeo is needed: use `cargo xtask test`");
        assert!(output.status.success(), "skopeo: {output:?}");
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Reads the address from the registry's own log, and drains the log from
/// then on.
fn listening_address(child: &mut Child) -> String {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(
            log.read_line(&mut line).unwrap(),
            0,
            "the registry ended before it listened"
        );
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest
                .chars()
                .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':'))
                .collect();
        }
    };
    std::thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
    address
}
