//! What comes of configuration, environment and command line.

use super::*;
use crate::{config::HostConfig, environment::BaseDirectories};

fn environment() -> Environment {
    Environment {
        base: Some(BaseDirectories {
            config: "/home/u/.config".into(),
            state: "/s".into(),
            cache: "/c".into(),
        }),
        home: Some("/home/u".into()),
        xdg_runtime: Some("/run/u".into()),
        working_directory: "/here".into(),
        path: vec!["/bin".into()],
        ..Environment::default()
    }
}

fn paths(options: &RegistryOptions) -> Vec<(&str, bool)> {
    let files = options.credentials.auth_files.iter();
    files
        .map(|file| (file.path.as_str(), file.must_exist))
        .collect()
}

#[test]
fn a_named_file_of_credentials_replaces_the_usual_ones() {
    let mut config = RegistriesConfig::default();
    let mut environment = environment();
    let usual = options(&environment, &config);
    assert_eq!(usual.credentials.program_directories, ["/bin"]);
    let podman = [
        ("/run/u/containers/auth.json", false),
        ("/home/u/.config/containers/auth.json", false),
    ];
    let mut expected = vec![("/home/u/.docker/config.json", false)];
    expected.extend(podman);
    assert_eq!(paths(&usual), expected);
    environment.docker_config = Some("dock".into());
    expected[0].0 = "/here/dock/config.json";
    assert_eq!(paths(&options(&environment, &config)), expected);
    config.auth_file = Some("/configured".into());
    assert_eq!(
        paths(&options(&environment, &config)),
        [("/configured", true)]
    );
    environment.registry_auth_file = Some("/variable".into());
    assert_eq!(
        paths(&options(&environment, &config)),
        [("/variable", true)]
    );
}

#[test]
fn configured_proxies_beat_those_of_the_environment() {
    let mut environment = environment();
    environment.proxies = ProxyOptions {
        http: Some("proxy:1".into()),
        https: Some("http://proxy:2".into()),
        no_proxy: "a".into(),
    };
    let mut config = RegistriesConfig::default();
    assert_eq!(
        options(&environment, &config).proxies,
        ProxyOptions {
            http: Some("http://proxy:1".into()),
            ..environment.proxies.clone()
        }
    );
    config.proxy.https = Some("https://other".into());
    config.proxy.no_proxy = "b".into();
    let found = options(&environment, &config).proxies;
    assert_eq!(found.https.as_deref(), Some("https://other"));
    assert_eq!(found.no_proxy, "b");
}

#[test]
fn hosts_bring_their_mirrors_authorities_and_helpers() {
    let host = HostConfig {
        mirrors: vec!["m.example".parse().unwrap()],
        ca_file: Some("/ca".into()),
        credential_helper: Some("pass".into()),
    };
    let config = RegistriesConfig {
        host: [("r.example".to_owned(), host)].into(),
        plain_http: vec!["m.example".into()],
        ..RegistriesConfig::default()
    };
    let found = options(&environment(), &config);
    assert_eq!(found.plain_http, ["m.example"]);
    assert_eq!(found.hosts["r.example"].mirrors[0].host(), "m.example");
    assert_eq!(found.hosts["r.example"].ca_file, Some("/ca".into()));
    assert_eq!(found.credentials.helpers["r.example"], "pass");
}

#[test]
fn the_command_line_signs_in_to_the_registry_of_the_reference() {
    let reference: ImageReference = "r.example:5000/a/b".parse().unwrap();
    let args = RegistryArgs {
        username: Some("ann".into()),
        password_stdin: true,
        authfile: Some("auth.json".into()),
    };
    let usual = || options(&environment(), &RegistriesConfig::default());
    let password = || Ok("s3cret".to_owned());
    let signed = sign_in(
        usual(),
        args.clone(),
        Some(&reference),
        &environment(),
        password,
    );
    let signed = signed.unwrap();
    assert_eq!(paths(&signed), [("/here/auth.json", true)]);
    assert_eq!(signed.credentials.given[0].registry, "r.example:5000");
    assert!(!format!("{signed:?}").contains("s3cret"));
    let unused = || -> Result<String, CliError> { panic!("nobody asked for a password") };
    let plain = sign_in(
        usual(),
        RegistryArgs::default(),
        None,
        &environment(),
        unused,
    );
    assert_eq!(plain.unwrap(), usual());
    let layout: ImageReference = "oci:/x".parse().unwrap();
    for other in [Some(&layout), None] {
        let refused = sign_in(usual(), args.clone(), other, &environment(), unused);
        assert!(matches!(refused, Err(CliError::Usage { .. })));
    }
}

#[test]
fn a_password_is_what_stands_before_the_lines_end() {
    for (text, password) in [
        ("a b", "a b"),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
    ] {
        assert_eq!(read_password(text.as_bytes()).unwrap(), password);
    }
    let long = vec![b'x'; (1 << 16) + 1];
    for text in [&b""[..], b"\n", b"\xff", &long] {
        assert!(read_password(text).is_err());
    }
}
