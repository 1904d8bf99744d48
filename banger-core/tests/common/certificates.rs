//! Certificates for tests, which openssl(1) makes.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use camino::Utf8Path;

/// Makes a key and a certificate of that name in a directory.
pub(crate) fn certify(root: &Utf8Path, name: &str, extra: &[&str]) {
    let line = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut openssl = Command::new("openssl");
    openssl.current_dir(root).args(line.split(' ')).args(extra);
    let output = openssl
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    protect(&root.join(key));
}

/// Makes one that the authority `ca` has signed.
pub(crate) fn certify_by_authority(root: &Utf8Path, name: &str, dns: &str) {
    let alternative = format!("subjectAltName=DNS:{dns}");
    let of = "-CA ca.crt -CAkey ca.key -subj /CN=x -addext basicConstraints=critical,CA:FALSE";
    let words: Vec<_> = of.split(' ').chain(["-addext", &alternative]).collect();
    certify(root, name, &words);
}

/// Makes a file its user's alone.
pub(crate) fn protect(path: &Utf8Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
