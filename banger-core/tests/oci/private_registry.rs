//! A real registry behind TLS and a password: its authority is the test's own,
//! and what opens it was written by programs that others wrote.

use std::{fs, os::unix::fs::PermissionsExt as _};

use banger_core::{
    ErrorKind,
    oci::{
        AuthFile, HostOptions, ImageSources as _, LayerBlob, RegistryCredentials, SourceError,
        SourceOptions,
    },
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    certificates::{certify, run},
    content::Shape,
    layout::Layout,
    registry_program::DockerRegistry,
    world::{amd64, options, pull},
};

/// A registry with an image at `team/tool:tag`.
struct Private {
    registry: DockerRegistry,
    root: Utf8PathBuf,
}

impl Private {
    fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
        let certificates = root.join("certificates");
        fs::create_dir(&certificates).unwrap();
        certify(&certificates, "ca", &["-subj", "/CN=authority"]);
        certify(&certificates, "other", &["-subj", "/CN=stranger"]);
        let (ca, key) = (certificates.join("ca.crt"), certificates.join("ca.key"));
        let signed = [
            "-CA",
            ca.as_str(),
            "-CAkey",
            key.as_str(),
            "-subj",
            "/CN=registry",
        ];
        let names = [
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:registry.invalid",
        ];
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let server = root.join("server");
        fs::create_dir(&server).unwrap();
        certify(&server, "server", &[&signed[..], &names, &leaf].concat());
        let tls =
            format!("  tls:\n    certificate: {server}/server.crt\n    key: {server}/server.key\n");
        // a directory of certificates must hold no key without certificate
        for name in ["ca.key", "other.key"] {
            fs::remove_file(certificates.join(name)).unwrap();
        }
        let registry = DockerRegistry::start_in(scratch, &tls);
        let layout = Layout::write(Shape::Manifest("amd64"), &["one"]);
        registry.push_as(
            &layout,
            "team/tool:tag",
            &["--dest-cert-dir", certificates.as_str()],
        );
        Self { registry, root }
    }

    fn certificate(&self, name: &str) -> Utf8PathBuf {
        self.root.join("certificates").join(name)
    }

    /// Signs in to `place` with skopeo, which writes the file it answers.
    fn log_in(&self, place: &str) -> Utf8PathBuf {
        let file = self.root.join("auth.json");
        let certificates = self.root.join("certificates");
        let options = [
            "--cert-dir",
            certificates.as_str(),
            "--authfile",
            file.as_str(),
        ];
        let user = ["--username", "ann", "--password-stdin"];
        let place = format!("{}{place}", self.registry.host);
        run(
            "skopeo",
            &[&["login"], &options[..], &user, &[&place]].concat(),
            "s3cret",
        );
        file
    }

    /// Options that trust this certificate for the registry.
    fn trusting(&self, certificate: &str) -> SourceOptions {
        let cache = self.root.join(format!("for-{certificate}"));
        let mut options = options(&cache);
        let special = HostOptions {
            mirrors: Vec::new(),
            ca_file: Some(self.certificate(certificate)),
        };
        let hosts = &mut options.registries.hosts;
        hosts.insert(self.registry.host.clone(), special);
        options
    }

    fn with_file(&self, file: Utf8PathBuf) -> SourceOptions {
        let mut options = self.trusting("ca.crt");
        options.registries.credentials.auth_files = vec![AuthFile {
            path: file,
            must_exist: true,
        }];
        options
    }

    async fn pull(&self, options: &SourceOptions) -> Result<Vec<LayerBlob>, SourceError> {
        let reference = format!("{}/team/tool:tag", self.registry.host);
        let source = options.open(&reference.parse().unwrap())?;
        pull(source.as_ref(), &NoProgress).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_logged_in_to_is_open() {
    let private = Private::start();
    for place in ["", "/team", "/team/tool"] {
        let file = private.log_in(place);
        let options = private.with_file(file.clone());
        private.pull(&options).await.unwrap();
        fs::remove_file(file).unwrap();
    }
    let elsewhere = private.log_in("/other");
    let refused = private
        .pull(&private.with_file(elsewhere))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_helper_knows_is_open() {
    let private = Private::start();
    let host = &private.registry.host;
    let helper = private.root.join("docker-credential-test");
    let known = format!(
        r#"#!/bin/sh
read server
[ "$1 $server" = "get {host}" ] || {{ echo credentials not found in native keychain; exit 1; }}
echo '{{"ServerURL":"{host}","Username":"ann","Secret":"s3cret"}}'
"#
    );
    fs::write(&helper, known).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let file = private.root.join("config.json");
    for text in [
        r#"{"credsStore":"test"}"#.to_owned(),
        format!(r#"{{"auths":{{"{host}":{{}}}},"credHelpers":{{"{host}":"test"}}}}"#),
    ] {
        fs::write(&file, text).unwrap();
        let mut options = private.with_file(file.clone());
        options.registries.credentials.program_directories = vec![private.root.clone()];
        private.pull(&options).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leads_to_tls_of_the_registrys_own() {
    let private = Private::start();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = private.trusting("ca.crt");
    let registries = &mut options.registries;
    let special = registries.hosts[&private.registry.host].clone();
    registries.hosts.insert("registry.invalid".into(), special);
    registries.proxies.https = Some(format!("http://{}", proxy.local_addr().unwrap()));
    registries.credentials.given.push(RegistryCredentials {
        registry: "registry.invalid".into(),
        user: "ann".into(),
        secret: "s3cret".into(),
    });
    let reference = "registry.invalid/team/tool:tag".parse().unwrap();
    let source = options.open(&reference).unwrap();
    let mut seen = Vec::new();
    tokio::select! {
        pulled = pull(source.as_ref(), &NoProgress) => drop(pulled.unwrap()),
        () = connect_through(&proxy, &private.registry.host, &mut seen) => panic!("the proxy closed"),
    }
    let text = String::from_utf8(seen).unwrap();
    assert!(
        text.starts_with("CONNECT registry.invalid:443 HTTP/1.1\r\n"),
        "{text}"
    );
    // what the registry is told is not for the proxy
    assert!(!text.to_lowercase().contains("authorization"), "{text}");
}

/// A proxy (RFC 9110, 9.3.6) that leads to `host` and keeps what it was told.
async fn connect_through(proxy: &TcpListener, host: &str, seen: &mut Vec<u8>) {
    let mut connections = JoinSet::new();
    while let Ok((mut comer, _)) = proxy.accept().await {
        let start = seen.len();
        while !seen[start..].ends_with(b"\r\n\r\n") {
            seen.push(comer.read_u8().await.unwrap());
        }
        let mut there = TcpStream::connect(host).await.unwrap();
        comer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        connections.spawn(async move {
            drop(copy_bidirectional(&mut comer, &mut there).await);
        });
    }
}

/// Passes connections on to `host`, one after the other, and counts them.
async fn pass_on(gate: &TcpListener, host: &str, comers: &mut usize) {
    while let Ok((mut comer, _)) = gate.accept().await {
        *comers += 1;
        let mut there = TcpStream::connect(host).await.unwrap();
        drop(copy_bidirectional(&mut comer, &mut there).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_a_strange_authority_is_refused_at_once() {
    let private = Private::start();
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = gate.local_addr().unwrap().to_string();
    let mut options = private.trusting("other.crt");
    let special = options.registries.hosts[&private.registry.host].clone();
    options.registries.hosts.insert(host.clone(), special);
    let reference = format!("{host}/team/tool:tag").parse().unwrap();
    let source = options.open(&reference).unwrap();
    let (platform, mut comers) = (amd64(), 0);
    let refused = tokio::select! {
        resolved = source.resolve(&platform) => resolved.unwrap_err(),
        () = pass_on(&gate, &private.registry.host, &mut comers) => panic!("the gate closed"),
    };
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    assert_eq!(comers, 1);
    let missing = private.trusting("missing.crt");
    let error = private.pull(&missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let no_certificate = private.root.join("certificates/none.crt");
    fs::write(&no_certificate, "none").unwrap();
    let error = private
        .pull(&private.trusting("none.crt"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}
