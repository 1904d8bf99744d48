//! Catalogs and bundles in a real registry with TLS and a password, and
//! bundles over HTTPS through a proxy that breaks off. The authority is the
//! test's own.

use std::{fs, os::unix::fs::FileExt as _};

use banger_core::{
    ErrorKind,
    catalog::{CatalogOptions, SupplyOptions},
    domain::Digest,
    image::PullError,
    oci::{HostOptions, RegistryCredentials, RegistryOptions},
    rootfs::{RootfsLimits, format_empty},
    trust::{MinisignKey, Pattern, Policy, Requirement, Rule, Rules},
};
use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    certificates::certify,
    host::{DISK, Host, key_pair, sign},
    registry_program::DockerRegistry,
};

const BUNDLE: &str = "application/vnd.banger.bundle.v1.tar+zstd";
const CATALOG: &str = "application/vnd.banger.catalog.v1+json";
const SIGNATURE: &str = "application/vnd.banger.minisig.v1";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry behind TLS.
struct World {
    registry: DockerRegistry,
    authority: Utf8PathBuf,
    client: reqwest::Client,
}

impl World {
    fn start(is_locked: bool) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
        certify(&root, "ca", &["-subj", "/CN=authority"]);
        let (authority, key) = (root.join("ca.crt"), root.join("ca.key"));
        let names = "subjectAltName=IP:127.0.0.1,DNS:bundles.invalid";
        let signed = ["-CA", authority.as_str(), "-CAkey", key.as_str()];
        let leaf = ["-subj", "/CN=server", "-addext", names];
        let kind = ["-addext", "basicConstraints=critical,CA:FALSE"];
        certify(&root, "server", &[&signed[..], &leaf, &kind].concat());
        let tls =
            format!("  tls:\n    certificate: {root}/server.crt\n    key: {root}/server.key\n");
        let registry = if is_locked {
            DockerRegistry::start_in(scratch, &tls)
        } else {
            DockerRegistry::start_with(scratch, "", &tls)
        };
        drop(rustls::crypto::ring::default_provider().install_default());
        let certificate = reqwest::Certificate::from_pem(&fs::read(&authority).unwrap());
        let client = reqwest::Client::builder().no_proxy();
        let client = client.tls_certs_only([certificate.unwrap()]);
        let root = Utf8Path::from_path(registry.scratch.path()).unwrap();
        Self {
            authority: root.join("ca.crt"),
            registry,
            client: client.build().unwrap(),
        }
    }

    fn options(&self, host: &str) -> RegistryOptions {
        let mut options = RegistryOptions::default();
        let special = HostOptions {
            mirrors: Vec::new(),
            ca_file: Some(self.authority.clone()),
        };
        options.hosts.insert(host.to_owned(), special);
        options.credentials.given.push(RegistryCredentials {
            registry: host.to_owned(),
            user: "ann".into(),
            secret: "s3cret".into(),
        });
        options
    }

    async fn host(&self, supply: SupplyOptions) -> Host {
        let options = self.options(&self.registry.host);
        Host::reaching(options, supply, RootfsLimits::default()).await
    }

    /// Puts an artifact of these files at `TAG` of the repository, and answers
    /// its manifest's digest.
    async fn push(&self, repository: &str, files: &[(&str, Vec<u8>)]) -> Digest {
        let base = format!("https://{}/v2/{repository}", self.registry.host);
        let mut layers = Vec::new();
        let empty = (
            String::from("application/vnd.oci.empty.v1+json"),
            b"{}".to_vec(),
        );
        let files = files
            .iter()
            .map(|(kind, bytes)| ((*kind).to_owned(), bytes.clone()));
        for (kind, bytes) in std::iter::once(empty).chain(files) {
            let digest = Digest::of(&bytes);
            let size = bytes.len();
            let upload = self.client.post(format!("{base}/blobs/uploads/"));
            let upload = upload
                .basic_auth("ann", Some("s3cret"))
                .send()
                .await
                .unwrap();
            let place = upload.headers()["location"].to_str().unwrap();
            let put = self
                .client
                .put(format!("{place}&digest={digest}"))
                .body(bytes);
            let put = put.basic_auth("ann", Some("s3cret")).send().await.unwrap();
            assert!(put.status().is_success(), "{put:?}");
            layers.push(serde_json::json!({
                "mediaType": kind, "digest": digest.to_string(), "size": size,
            }));
        }
        let config = layers.remove(0);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": layers[0]["mediaType"],
            "config": config, "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = Digest::of(&bytes);
        let put = self.client.put(format!("{base}/manifests/1")).body(bytes);
        let put = put.header("content-type", MANIFEST);
        let put = put.basic_auth("ann", Some("s3cret")).send().await.unwrap();
        assert!(put.status().is_success(), "{put:?}");
        digest
    }
}

fn catalog(location: &str, key: Option<MinisignKey>) -> SupplyOptions {
    let catalog = CatalogOptions {
        name: "team".into(),
        location: banger_core::bundle::Location::parse(location).unwrap(),
        sha256: None,
        key,
    };
    SupplyOptions {
        catalogs: vec![catalog],
        ..SupplyOptions::default()
    }
}

/// The bytes of a file and of its signature by the key `ours`.
fn signed(maker: &Host, file: &Utf8Path) -> (Vec<u8>, Vec<u8>) {
    sign(&maker.root, "ours", file);
    let signature = fs::read(format!("{file}.minisig")).unwrap();
    (fs::read(file).unwrap(), signature)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_a_signed_catalog_in_a_registry() {
    let (world, maker) = (World::start(true), Host::new().await);
    let key = MinisignKey::parse(&key_pair(&maker.root, "ours")).unwrap();
    let (path, written) = maker.bundle("golden.tar.zst", true).await;
    let bundle = vec![(BUNDLE, fs::read(&path).unwrap())];
    world.push("team/golden", &bundle).await;
    let registry = &world.registry.host;
    let document = serde_json::json!({
        "format": 1,
        "images": [{
            "name": "golden",
            "architecture": std::env::consts::ARCH,
            "source": format!("oci://{registry}/team/golden"),
            "sha256": written.sha256.to_hex(),
            "size": written.size.get(),
        }],
    });
    let file = maker.root.join("catalog.json");
    fs::write(&file, serde_json::to_vec(&document).unwrap()).unwrap();
    let (bytes, signature) = signed(&maker, &file);
    let files = [(CATALOG, bytes.clone()), (SIGNATURE, signature)];
    world.push("team/catalog", &files).await;
    let location = format!("oci://{registry}/team/catalog:1");
    let host = world.host(catalog(&location, Some(key.clone()))).await;
    let image = host.load_named("golden").await.unwrap();
    assert_eq!(image.name.as_str(), "golden");

    // without its signature, with a missing document, and without one at all
    for (files, kind) in [
        (vec![(CATALOG, bytes.clone())], ErrorKind::PermissionDenied),
        (vec![(BUNDLE, bytes.clone())], ErrorKind::Unsupported),
        (
            vec![(CATALOG, bytes.clone()), (CATALOG, bytes)],
            ErrorKind::Corrupt,
        ),
    ] {
        world.push("team/catalog", &files).await;
        let host = world.host(catalog(&location, Some(key.clone()))).await;
        let error = host.load_named("golden").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        host.assert_nothing_kept().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_in_a_registry_is_named_by_its_manifest_and_vouched_for_by_it() {
    let (world, maker) = (World::start(true), Host::new().await);
    let key = MinisignKey::parse(&key_pair(&maker.root, "ours")).unwrap();
    let (path, written) = maker.bundle("golden.tar.zst", true).await;
    let (bytes, signature) = signed(&maker, &path);
    let files = [(BUNDLE, bytes), (SIGNATURE, signature)];
    let manifest = world.push("team/golden", &files).await;
    let place = format!("oci://{}/team/golden", world.registry.host);
    let policy = Policy {
        images: Some(Rules {
            rules: vec![Rule {
                pattern: Pattern::new(&place),
                requirement: Requirement::Minisign(key),
            }],
            default: Requirement::Refuse,
        }),
        kernels: None,
    };
    let policy = SupplyOptions {
        policy,
        ..SupplyOptions::default()
    };
    let bytes = written.sha256;
    for (reference, kind) in [
        (format!("{place}@{manifest}"), None),
        (format!("{place}:1@{manifest}"), None),
        (format!("{place}@{manifest}@{bytes}"), None),
        (
            format!("{place}@{}", Digest::of(b"x")),
            Some(ErrorKind::NotFound),
        ),
    ] {
        let host = world.host(policy.clone()).await;
        let loaded = host.load(&reference).await;
        let found = loaded.as_ref().err().map(PullError::kind);
        assert_eq!(found, kind, "{reference}: {loaded:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_comes_by_https_through_a_proxy_that_breaks_off() {
    let (world, maker) = (World::start(false), Host::new().await);
    incompressible_disk(&maker);
    let (path, written) = maker.bundle("golden.tar.zst", true).await;
    world
        .push("golden", &[(BUNDLE, fs::read(&path).unwrap())])
        .await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = world.options("bundles.invalid");
    options.proxies.https = Some(format!("http://{}", proxy.local_addr().unwrap()));
    let digest = written.sha256;
    let reference = format!("https://bundles.invalid/v2/golden/blobs/{digest}@{digest}");
    let reach =
        |options| Host::reaching(options, SupplyOptions::default(), RootfsLimits::default());
    let host = reach(options.clone()).await;
    let mut seen = Vec::new();
    tokio::select! {
        loaded = host.load(&reference) => drop(loaded.unwrap()),
        () = break_off(&proxy, &world.registry.host, &mut seen) => panic!("the proxy closed"),
    }
    let start = "CONNECT bundles.invalid:443 HTTP/1.1\r\n";
    assert!(3 <= seen.len(), "{seen:?}");
    assert!(seen.iter().all(|head| head.starts_with(start)), "{seen:?}");

    // whom nobody vouches for is not believed
    options.hosts.clear();
    let host = reach(options).await;
    let error = tokio::select! {
        loaded = host.load(&reference) => loaded.unwrap_err(),
        () = break_off(&proxy, &world.registry.host, &mut seen) => panic!("the proxy closed"),
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    host.assert_nothing_kept().await;
}

/// A disk for [`Host::golden`] whose bundle has more than two megabytes.
fn incompressible_disk(maker: &Host) {
    let path = maker.root.join("disk.ext4");
    format_empty(&path, DISK, [7; 16]).unwrap();
    let noise = (0..1_u32 << 16).flat_map(|number| *Digest::of(&number.to_le_bytes()).as_bytes());
    let disk = fs::OpenOptions::new().write(true).open(path).unwrap();
    let noise: Vec<u8> = noise.collect();
    disk.write_all_at(&noise, DISK.get() / 2).unwrap();
}

/// A proxy (RFC 9110, 9.3.6) that leads to `host`, breaks its second connection
/// off in the middle, and keeps what it was told.
async fn break_off(proxy: &TcpListener, host: &str, seen: &mut Vec<String>) {
    let mut connections = JoinSet::new();
    while let Ok((mut comer, _)) = proxy.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(comer.read_u8().await.unwrap());
        }
        seen.push(String::from_utf8(head).unwrap());
        let mut there = TcpStream::connect(host).await.unwrap();
        comer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let is_cut = seen.len() == 2;
        connections.spawn(async move {
            if is_cut {
                let (mut from, mut to) = there.split();
                let (mut asks, mut answers) = comer.split();
                // more than a handshake, less than the bundle
                let mut answer = (&mut from).take(1 << 20);
                tokio::select! {
                    done = tokio::io::copy(&mut asks, &mut to) => drop(done),
                    done = tokio::io::copy(&mut answer, &mut answers) => drop(done),
                }
            } else {
                drop(copy_bidirectional(&mut comer, &mut there).await);
            }
        });
    }
}
