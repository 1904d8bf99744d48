//! The part of the configuration file that is about registries.

use std::collections::BTreeMap;

use banger_core::oci::{Mirror, ProxyOptions};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Deserializer, de::Error as _};

/// What is special about which registries. Registries are named `host[:port]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RegistriesConfig {
    /// Registries and mirrors that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// The file of credentials, instead of those that docker and podman keep.
    pub auth_file: Option<Utf8PathBuf>,
    /// Registries and mirrors by name.
    pub host: BTreeMap<String, HostConfig>,
    /// Proxies, instead of those of the environment.
    #[serde(deserialize_with = "proxy")]
    pub proxy: ProxyOptions,
}

/// What is special about one registry or mirror.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HostConfig {
    /// Asked in this order before the registry itself.
    #[serde(deserialize_with = "mirrors")]
    pub mirrors: Vec<Mirror>,
    /// PEM file of certificate authorities, trusted besides the system's.
    pub ca_file: Option<Utf8PathBuf>,
    /// `NAME` of the program `docker-credential-NAME` that knows its
    /// credentials.
    pub credential_helper: Option<String>,
}

impl RegistriesConfig {
    /// The same with relative paths starting at `directory`.
    pub(super) fn relative_to(mut self, directory: &Utf8Path) -> Self {
        let hosts = self.host.values_mut().map(|host| &mut host.ca_file);
        for path in hosts.chain([&mut self.auth_file]).flatten() {
            *path = directory.join(&*path);
        }
        self
    }
}

fn mirrors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mirror>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let mirrors = texts
        .iter()
        .map(|text| text.parse().map_err(D::Error::custom));
    mirrors.collect()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawProxy {
    http: Option<String>,
    https: Option<String>,
    no_proxy: Vec<String>,
}

/// Kept as a type that does not show passwords.
fn proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProxyOptions, D::Error> {
    let raw = RawProxy::deserialize(deserializer)?;
    Ok(ProxyOptions {
        http: raw.http,
        https: raw.https,
        no_proxy: raw.no_proxy.join(","),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parsed(text: &str) -> Result<RegistriesConfig, String> {
        let config = Config::parse(Utf8Path::new("/etc/b/config.toml"), text);
        config
            .map(|config| config.registries)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read_and_paths_become_absolute() {
        let text = "[registries]\nplain-http = [\"a:5000\"]\nauth-file = \"auth.json\"\n\
            [registries.proxy]\nhttps = \"http://u:s3cret@p:1\"\nno-proxy = [\"a\", \"b\"]\n\
            [registries.host.\"docker.io\"]\nmirrors = [\"m:5000/hub\"]\nca-file = \"/ca.pem\"\n\
            [registries.host.\"m:5000\"]\nca-file = \"m.pem\"\ncredential-helper = \"pass\"\n";
        let found = parsed(text).unwrap();
        assert!(!format!("{found:?}").contains("s3cret"));
        let hub = HostConfig {
            mirrors: vec!["m:5000/hub".parse().unwrap()],
            ca_file: Some("/ca.pem".into()),
            credential_helper: None,
        };
        let mirror = HostConfig {
            mirrors: Vec::new(),
            ca_file: Some("/etc/b/m.pem".into()),
            credential_helper: Some("pass".into()),
        };
        let expected = RegistriesConfig {
            plain_http: vec!["a:5000".into()],
            auth_file: Some("/etc/b/auth.json".into()),
            host: [("docker.io".into(), hub), ("m:5000".into(), mirror)].into(),
            proxy: ProxyOptions {
                http: None,
                https: Some("http://u:s3cret@p:1".into()),
                no_proxy: "a,b".into(),
            },
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn wrong_mirrors_and_unknown_keys_are_named() {
        let mirror = parsed("[registries.host.\"a.b\"]\nmirrors = [\"https://m\"]\n").unwrap_err();
        assert!(
            mirror.contains("line 2") && mirror.contains("mirror"),
            "{mirror}"
        );
        let key = parsed("[registries.host.\"a.b\"]\npassword = \"s3cret\"\n").unwrap_err();
        assert!(key.contains("unknown field `password`"), "{key}");
        let key = parsed("[registries.proxy]\nftp = \"s3cret\"\n").unwrap_err();
        assert!(key.contains("unknown field `ftp`"), "{key}");
    }
}
