//! A service on another host: TLS, tokens and certificates.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use camino::Utf8Path;

use super::{Environment, Service};

/// SHA-256 of the tokens `first` and `second` (sha256sum).
const TOKENS: &str = r#"
[[token]]
owner = "ci"
sha256 = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
scopes = ["vms:own"]

[[token]]
owner = "puller"
sha256 = "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"
scopes = ["images"]
"#;
const NAME: &str = "server.test";

/// Makes a key and a certificate.
fn certify(root: &Utf8Path, name: &str, extra: &[&str]) {
    let line = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut openssl = Command::new("openssl");
    openssl.current_dir(root).args(line.split(' ')).args(extra);
    let output = openssl
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    assert!(output.unwrap().status.success(), "{name}");
    protect(&root.join(key));
}

/// One that the authority `ca` has signed.
fn certify_by_authority(root: &Utf8Path, name: &str, dns: &str) {
    let alternative = format!("subjectAltName=DNS:{dns}");
    let of = "-CA ca.crt -CAkey ca.key -subj /CN=x -addext basicConstraints=critical,CA:FALSE";
    let words: Vec<_> = of.split(' ').chain(["-addext", &alternative]).collect();
    certify(root, name, &words);
}

fn protect(path: &Utf8Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Writes a file that is its user's alone.
fn write(root: &Utf8Path, name: &str, text: &str) -> String {
    let path = root.join(name);
    fs::write(&path, text).unwrap();
    protect(&path);
    path.into_string()
}

/// A service that listens over TLS, and its address.
fn start(environment: &Environment) -> (Service, String) {
    let root = &environment.root;
    certify(root, "ca", &["-subj", "/CN=ca"]);
    certify(root, "stranger", &["-subj", "/CN=stranger"]);
    certify_by_authority(root, "server", NAME);
    certify_by_authority(root, "runner", "runner.test");
    let file = |name: &str| root.join(name);
    let service = Service::start(
        environment,
        &[
            "--listen=127.0.0.1:0".to_owned(),
            format!("--tls-certificate={}", file("server.crt")),
            format!("--tls-key={}", file("server.key")),
            format!("--tls-client-authorities={}", file("ca.crt")),
            "--tls-client-scopes=vms:own".to_owned(),
            format!("--tokens={}", write(root, "tokens", TOKENS)),
        ],
    );
    let line = service.said.iter().find(|line| line.contains("over TLS"));
    let (_, address) = line.unwrap().rsplit_once("address=").unwrap();
    let uri = format!("https://{}", address.trim());
    (service, uri)
}

#[test]
fn a_service_is_asked_over_tls_by_whom_it_knows() {
    let environment = Environment::empty();
    let root = environment.root.clone();
    let (_service, uri) = start(&environment);
    let file = |name: &str| root.join(name).into_string();
    let (authority, stranger) = (file("ca.crt"), file("stranger.crt"));
    let (first, second) = (write(&root, "1", "first\n"), write(&root, "2", "second\n"));
    let wrong = write(&root, "3", "third\n");
    let (certificate, key) = (file("runner.crt"), file("runner.key"));
    let at = |credentials: &[&str], command: &[&str]| -> Vec<String> {
        let place = [
            "--endpoint",
            &uri,
            "--tls-name",
            NAME,
            "--tls-ca",
            &authority,
        ];
        let words = [&place[..], credentials, command].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let by_token = |token| at(&["--token-file", token], &["vm", "list"]);
    let must = |words: Vec<String>| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        environment.must(&words)
    };
    let refused = |words: Vec<String>, status| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        environment.refused(&words, status)
    };

    must(by_token(&first));
    must(at(
        &["--tls-cert", &certificate, "--tls-key", &key],
        &["vm", "list"],
    ));
    must(at(&["--token-file", &second], &["image", "list"]));
    // by the variable
    let words = at(&[], &["vm", "list"]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut command = environment.command(&words);
    let output = command.env("BANGER_TOKEN", "first").output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let nobody = refused(at(&[], &["vm", "list"]), 5);
    assert!(nobody.contains("--token-file or BANGER_TOKEN"), "{nobody}");
    let unknown = refused(by_token(&wrong), 5);
    assert!(!unknown.contains("third"), "{unknown}");
    refused(by_token(&second), 5);
    // a service that nobody vouches for
    let place = [
        "--endpoint",
        &uri,
        "--tls-name",
        NAME,
        "--tls-ca",
        &stranger,
    ];
    let unproven = [&place[..], &["--token-file", &first, "vm", "list"]].concat();
    let unproven = environment.refused(&unproven, 6);
    assert!(unproven.contains("certificate"), "{unproven}");
    // nor one of another name
    let place = [
        "--endpoint",
        &uri,
        "--tls-name",
        "other.test",
        "--tls-ca",
        &authority,
    ];
    let other = [&place[..], &["--token-file", &first, "vm", "list"]].concat();
    environment.refused(&other, 6);
}
