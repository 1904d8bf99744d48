//! Keys and certificates of a test's own, made by openssl.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use camino::Utf8Path;

/// Runs a tool.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) {
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("package openssl or skopeo is needed: use `cargo xtask test`");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

/// A key and a certificate of it, signed by another or by itself.
pub(crate) fn certify(root: &Utf8Path, name: &str, extra: &[&str]) {
    let key = root.join(format!("{name}.key"));
    let certificate = root.join(format!("{name}.crt"));
    let line = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    let mut arguments: Vec<&str> = line.split(' ').collect();
    arguments.extend(["-keyout", key.as_str(), "-out", certificate.as_str()]);
    arguments.extend(extra);
    run("openssl", &arguments, "");
}
