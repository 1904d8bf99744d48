//! A registry that others wrote, filled by a program that others wrote.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, Command, Stdio},
    thread::JoinHandle,
};

use banger_core::{
    ErrorKind,
    oci::{ImageSources as _, RegistryCredentials},
    progress::NoProgress,
};
use camino::Utf8Path;
use tempfile::TempDir;

use super::{
    content::{Content, LAYER, Shape},
    layout::Layout,
    world::{amd64, options, pull},
};

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
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "")
    }

    /// `tls` is a part of the configuration of its HTTP server.
    pub(crate) fn start_in(scratch: TempDir, tls: &str) -> Self {
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("passwords"), PASSWORDS).unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n\
             storage:\n  filesystem:\n    rootdirectory: {root}/data\n\
             auth:\n  htpasswd:\n    realm: test\n    path: {root}/passwords\n\
             http:\n  addr: 127.0.0.1:0\n{tls}"
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

    fn push(&self, layout: &Layout, name: &str) {
        self.push_as(layout, name, &["--dest-tls-verify=false"]);
    }

    /// The same, with further options of `skopeo copy`.
    pub(crate) fn push_as(&self, layout: &Layout, name: &str, options: &[&str]) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the tool that fills the registry"
        )]
        let output = Command::new("skopeo")
            .args(["copy", "--all", "--insecure-policy"])
            .args(options)
            .args(["--dest-creds", "ann:s3cret"])
            .arg(format!("oci:{}", layout.directory))
            .arg(format!("docker://{}/{name}", self.host))
            .output();
        let output = output.expect("package skopeo is needed: use `cargo xtask test`");
        assert!(output.status.success(), "skopeo: {output:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_real_registry_are_pulled_by_tag_and_by_digest() {
    let registry = DockerRegistry::start();
    let layout = Layout::write(Shape::Manifest("amd64"), &["one"]);
    registry.push(&layout, "a/b:tag");
    let root = Utf8Path::from_path(registry.scratch.path()).unwrap();
    let with_secret = |secret: &str| {
        let mut options = options(root);
        options
            .registries
            .credentials
            .given
            .push(RegistryCredentials {
                registry: registry.host.clone(),
                user: "ann".into(),
                secret: secret.into(),
            });
        options
    };
    let name = format!("{}/a/b", registry.host);
    let by_tag = format!("{name}:tag").parse().unwrap();

    let source = with_secret("s3cret").open(&by_tag).unwrap();
    let image = source.resolve(&amd64()).await.unwrap();
    let by_digest = format!("{name}@{}", image.manifest).parse().unwrap();
    for reference in [&by_tag, &by_digest] {
        let source = with_secret("s3cret").open(reference).unwrap();
        let blobs = pull(source.as_ref(), &NoProgress).await.unwrap();
        assert_eq!(blobs[0].descriptor.diff_id, Content::layer_digest());
        let inflated = fs::metadata(&blobs[0].path).unwrap().len();
        assert!(inflated <= LAYER.len() as u64);
    }

    let missing = format!("{name}:missing").parse().unwrap();
    for (options, reference, kind) in [
        (with_secret("s3cret"), &missing, ErrorKind::NotFound),
        (with_secret("wr0ng"), &by_tag, ErrorKind::Unauthenticated),
        (options(root), &by_tag, ErrorKind::Unauthenticated),
    ] {
        let source = options.open(reference).unwrap();
        let error = source.resolve(&amd64()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}
