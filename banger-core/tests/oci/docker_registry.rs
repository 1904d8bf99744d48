//! A registry that others wrote, filled by a program that others wrote.

use std::{fs, process::Command};

use banger_core::{
    ErrorKind,
    oci::{ImageSources as _, RegistryCredentials},
    progress::NoProgress,
};
use camino::Utf8Path;

use super::{
    content::{Content, LAYER, Shape},
    layout::Layout,
    registry_program::DockerRegistry,
    world::{amd64, options, pull},
};

impl DockerRegistry {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "")
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
