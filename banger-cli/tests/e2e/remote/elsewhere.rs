//! A service on another host: TLS, tokens and certificates.

use std::{fs, process::Command};

use camino::Utf8Path;

use super::{Environment, Service};
use crate::e2e::certificates::{certify, certify_by_authority, protect};

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

/// Somebody who asks that service.
struct Asker {
    environment: Environment,
    uri: String,
    _service: Service,
}

impl Asker {
    fn new() -> Self {
        let environment = Environment::empty();
        let (service, uri) = start(&environment);
        Self {
            environment,
            uri,
            _service: service,
        }
    }

    fn file(&self, name: &str) -> String {
        self.environment.root.join(name).into_string()
    }

    /// The option of a token.
    fn token(&self, token: &str) -> [String; 2] {
        let file = write(&self.environment.root, token, &format!("{token}\n"));
        ["--token-file".to_owned(), file]
    }

    /// Asks a service of that name, if that authority says so.
    fn ask(&self, name: &str, authority: &str, rest: &[&str]) -> Command {
        let authority = self.file(authority);
        let place = ["--endpoint", &self.uri, "--tls-name", name, "--tls-ca"];
        let words = [&place[..], &[&authority], rest].concat();
        self.environment.command(&words)
    }

    /// What is said to one who shows this.
    fn said(&self, shown: &[String], command: &[&str], status: i32) -> String {
        let shown = shown.iter().map(String::as_str);
        let words: Vec<_> = shown.chain(command.iter().copied()).collect();
        said(self.ask(NAME, "ca.crt", &words), status)
    }
}

/// Runs, and answers standard error.
fn said(mut command: Command, status: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?}: {output:?}"
    );
    String::from_utf8(output.stderr).unwrap()
}

const VMS: [&str; 2] = ["vm", "list"];

#[test]
fn a_service_is_asked_over_tls_by_whom_it_knows() {
    let asker = Asker::new();
    let first = asker.token("first");
    asker.said(&first, &VMS, 0);
    asker.said(&asker.token("second"), &["image", "list"], 0);
    let (certificate, key) = (asker.file("runner.crt"), asker.file("runner.key"));
    let certificate = ["--tls-cert".to_owned(), certificate];
    let shown = [&certificate[..], &["--tls-key".to_owned(), key]].concat();
    asker.said(&shown, &VMS, 0);
    let mut by_variable = asker.ask(NAME, "ca.crt", &VMS);
    by_variable.env("BANGER_TOKEN", "first");
    said(by_variable, 0);

    let nobody = asker.said(&[], &VMS, 5);
    assert!(nobody.contains("--token-file or BANGER_TOKEN"), "{nobody}");
    let unknown = asker.said(&asker.token("third"), &VMS, 5);
    assert!(!unknown.contains("third"), "{unknown}");
    // its scope is too small
    asker.said(&asker.token("second"), &VMS, 5);
}

#[test]
fn a_service_that_nobody_vouches_for_is_told_nothing() {
    let asker = Asker::new();
    let [option, file] = asker.token("first");
    let rest = [&[option.as_str(), file.as_str()], &VMS[..]].concat();
    let stranger = said(asker.ask(NAME, "stranger.crt", &rest), 6);
    assert!(stranger.contains("certificate"), "{stranger}");
    said(asker.ask("other.test", "ca.crt", &rest), 6);
}
