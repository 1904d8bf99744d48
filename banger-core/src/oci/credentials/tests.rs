//! Files and helpers of a test's own, and what is found in them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::*;
use crate::ErrorKind;

/// Files of credentials and helper programs of a test's own.
struct Home {
    scratch: TempDir,
    source: CredentialSource,
}

impl Home {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut home = Self {
            scratch,
            source: CredentialSource::default(),
        };
        home.source.program_directories = vec!["relative".into(), home.path("")];
        home
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.scratch.path()).unwrap().join(name)
    }

    fn with_file(mut self, text: &str) -> Self {
        let path = self.path(&format!("auth-{}", self.source.auth_files.len()));
        fs::write(&path, text).unwrap();
        self.source.auth_files.push(AuthFile {
            path,
            must_exist: true,
        });
        self
    }

    fn with_helper(self, name: &str, script: &str) -> Self {
        let path = self.path(&format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    async fn find(&self, registry: &str, repository: &str) -> Result<Credential, AccessError> {
        self.source.find(registry, repository).await
    }

    async fn user(&self, registry: &str, repository: &str) -> String {
        match self.find(registry, repository).await.unwrap() {
            Credential::Anonymous => "nobody".to_owned(),
            Credential::Password { user, secret } => format!("{user}:{}", secret.expose()),
            Credential::Identity(token) => format!("identity {}", token.expose()),
            Credential::Bearer(token) => format!("bearer {}", token.expose()),
        }
    }
}

/// An entry of `auths`.
fn auth(key: &str, pair: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!(r#""{key}": {{"auth": "{}"}}"#, STANDARD.encode(pair))
}

fn auths(entries: &[String]) -> String {
    format!(r#"{{"auths": {{{}}}}}"#, entries.join(","))
}

#[tokio::test]
async fn the_longest_key_that_names_the_repository_wins() {
    let home = Home::new().with_file(&auths(&[
        auth("r.example", "host:h"),
        auth("r.example/team", "team:t"),
        auth("r.example/team/tool", "tool:x:y"),
        auth("https://old.example/v1/", "old:o"),
        auth("https://index.docker.io/v1/", "hub:h"),
        auth("docker.io/mine", "mine:m"),
        r#""empty.example": {}"#.to_owned(),
        r#""null.example": null"#.to_owned(),
        r#""id.example": {"auth": "", "identitytoken": "t"}"#.to_owned(),
        r#""bare.example": {"username": "u", "password": "p"}"#.to_owned(),
        r#""reg.example": {"registrytoken": "b"}"#.to_owned(),
    ]));
    for (registry, repository, user) in [
        ("r.example", "other/x", "host:h"),
        ("r.example", "teams", "host:h"),
        ("r.example", "team/other", "team:t"),
        ("r.example", "team/tool", "tool:x:y"),
        ("r.example", "team/toolbox", "team:t"),
        ("r.example:5000", "team/tool", "nobody"),
        ("old.example", "a", "old:o"),
        ("docker.io", "library/debian", "hub:h"),
        ("index.docker.io", "library/debian", "hub:h"),
        ("docker.io", "mine/x", "mine:m"),
        ("empty.example", "a", "nobody"),
        ("null.example", "a", "nobody"),
        ("id.example", "a", "identity t"),
        ("bare.example", "a", "u:p"),
        ("reg.example", "a", "bearer b"),
    ] {
        let found = home.user(registry, repository).await;
        assert_eq!(found, user, "{registry}/{repository}");
    }
}

#[tokio::test]
async fn what_is_given_beats_helpers_and_those_beat_files_in_their_order() {
    let script = r#"read server; echo "{\"Username\":\"helped\",\"Secret\":\"$server\"}""#;
    let mut home = Home::new()
        .with_file(&auths(&[
            auth("a.example", "first:1"),
            auth("c.example", "c:c"),
        ]))
        .with_file(&auths(&[
            auth("a.example", "second:2"),
            auth("b.example", "b:b"),
        ]))
        .with_helper("test", script);
    let missing = AuthFile {
        path: home.path("missing"),
        must_exist: false,
    };
    home.source.auth_files.insert(0, missing);
    assert_eq!(home.user("a.example", "x").await, "first:1");
    assert_eq!(home.user("b.example", "x").await, "b:b");
    let helpers = [("c.example", "test"), ("d.example", "test")];
    home.source.helpers = helpers.map(|(a, b)| (a.into(), b.into())).into();
    assert_eq!(home.user("c.example", "x").await, "helped:c.example");
    home.source.given.push(RegistryCredentials {
        registry: "d.example".into(),
        user: "given".into(),
        secret: "g".into(),
    });
    assert_eq!(home.user("d.example", "x").await, "given:g");
    assert_eq!(home.user("e.example", "x").await, "nobody");
}

#[tokio::test]
async fn helpers_of_a_file_are_asked_by_the_names_docker_uses() {
    let script = r#"read server; [ "$1" = get ] && echo "{\"ServerURL\":\"$server\",\"Username\":\"$server\",\"Secret\":\"s\"}""#;
    let none = "echo 'credentials not found in native keychain'; exit 1";
    let home = Home::new()
        .with_file(&format!(
            r#"{{"credHelpers": {{"own.example": "own", "none.example": "none"}}, "credsStore": "store",
            "auths": {{{}, {}}}}}"#,
            auth("none.example", "kept:k"),
            auth("own.example", "stale:s"),
        ))
        .with_helper("own", script)
        .with_helper("none", none)
        .with_helper("store", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    assert_eq!(home.user("own.example", "x").await, "own.example:s");
    assert_eq!(home.user("none.example", "x").await, "kept:k");
    assert_eq!(home.user("other.example", "x").await, "identity t");
    let hub = Home::new()
        .with_file(r#"{"credsStore": "own"}"#)
        .with_helper("own", script);
    let found = hub.user("docker.io", "library/x").await;
    assert_eq!(found, "https://index.docker.io/v1/:s");
    let nobody = Home::new()
        .with_file(r#"{"credsStore": "none"}"#)
        .with_helper("none", none);
    assert_eq!(nobody.user("r.example", "x").await, "nobody");
}

#[tokio::test]
async fn helpers_that_misbehave_are_errors_without_their_answers() {
    let flood = "head -c 200000 /dev/zero | tr '\\0' s3cret";
    let cases = [
        ("exit 3", ErrorKind::Unavailable),
        ("echo s3cret", ErrorKind::Unavailable),
        (
            "echo '{\"Username\":1,\"Secret\":\"s3cret\"}'",
            ErrorKind::Unavailable,
        ),
        (
            "echo s3cret; echo '{\"Secret\":\"s3cret\"}'; exit 1",
            ErrorKind::Unavailable,
        ),
        (flood, ErrorKind::Unavailable),
        ("exec sleep 600", ErrorKind::Timeout),
    ];
    for (script, kind) in cases {
        let mut home = Home::new()
            .with_file(r#"{"credsStore": "bad"}"#)
            .with_helper("bad", script);
        if kind == ErrorKind::Timeout {
            home.source.helper_deadline = Duration::from_millis(50);
        }
        let error = home.find("r.example", "x").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{script}: {error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    for name in ["missing", "../../bin/sh", ""] {
        let home = Home::new().with_helper("x", "");
        let mut home = home.with_file("");
        home.source.helpers.insert("r.example".into(), name.into());
        assert!(home.find("r.example", "x").await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_without_their_content() {
    for text in [
        "s3cret",
        r#"{"auths": "s3cret"}"#,
        r#"{"auths": {"r.example": {"auth": "s3cret!"}}}"#,
        r#"{"auths": {"r.example": {"auth": "czNjcmV0"}}}"#,
        &" ".repeat((1 << 20) + 1),
    ] {
        let home = Home::new().with_file(text);
        let error = home.find("r.example", "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("auth-0") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
    let mut home = Home::new();
    home.source.auth_files.push(AuthFile {
        path: home.path("missing"),
        must_exist: true,
    });
    let error = home.find("r.example", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn no_debug_form_shows_a_secret() {
    let given = RegistryCredentials {
        registry: "r".into(),
        user: "u".into(),
        secret: "s3cret".into(),
    };
    let credential = Credential::Identity("s3cret".to_owned().into());
    assert!(!format!("{given:?} {credential:?}").contains("s3cret"));
}
