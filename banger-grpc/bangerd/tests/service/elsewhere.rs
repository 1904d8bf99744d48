//! Clients from elsewhere that are not ours: Python's own gRPC over TLS.

use std::{fs, os::unix::fs::PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    certificates::{certify, certify_by_authority, protect},
    daemon::Daemon,
};

/// SHA-256 of the tokens `first` and `second` (sha256sum).
const FIRST: &str = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";
const SECOND: &str = "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4";

fn list_token(root: &Utf8Path, digest: &str) -> Utf8PathBuf {
    let path = root.join("tokens");
    let text =
        format!("[[token]]\nowner = \"ci\"\nsha256 = \"{digest}\"\nscopes = [\"vms:own\"]\n");
    fs::write(&path, text).unwrap();
    protect(&path);
    path
}

#[test]
fn a_foreign_client_comes_in_over_tls_with_a_token_or_a_certificate() {
    let mut daemon = Daemon::stopped();
    let root = daemon.root.clone();
    certify(&root, "ca", &["-subj", "/CN=ca"]);
    certify_by_authority(&root, "server", "server.test");
    certify_by_authority(&root, "runner", "runner.test");
    let file = |name: &str| root.join(name).into_string();
    daemon.arguments = vec![
        "--listen=127.0.0.1:0".to_owned(),
        format!("--tls-certificate={}", file("server.crt")),
        format!("--tls-key={}", file("server.key")),
        format!("--tls-client-authorities={}", file("ca.crt")),
        "--tls-client-scopes=vms:own".to_owned(),
        format!("--tokens={}", list_token(&root, FIRST)),
    ];
    daemon.again();
    let address = daemon.address("over TLS");
    let (authority, certificate, key) = (file("ca.crt"), file("runner.crt"), file("runner.key"));
    let arguments = [&address, &authority, &certificate, &key, "first"];
    assert_eq!(daemon.python("elsewhere", &arguments), "done\n");

    // another token, without a restart
    list_token(&root, SECOND);
    daemon.signal("HUP");
    let arguments = [&address, &authority, "first", "second"];
    assert_eq!(daemon.python("replaced", &arguments), "done\n");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn files_that_others_could_change_and_halves_of_tls_are_refused() {
    let mut daemon = Daemon::stopped();
    let tokens = list_token(&daemon.root, FIRST);
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).unwrap();
    for (arguments, words) in [
        (
            vec![format!("--tokens={tokens}")],
            "is not the server's alone",
        ),
        (vec!["--listen=127.0.0.1:0".to_owned()], "failed to listen"),
        (
            vec!["--metrics=0.0.0.0:0".to_owned()],
            "loopback interface alone",
        ),
    ] {
        daemon.arguments = arguments;
        let output = daemon.command().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}
