//! The configuration file, `banger/config.toml`.
//!
//! Purpose: what a user sets once. Invariants: an unknown key is an error that
//! names it; parsing is apart from reading. Relative paths in it start at the
//! file's own directory. Entry points: [`Config::parse`], [`Config::read`].

mod jail;
mod registries;
mod service;

use banger_core::{
    bundle::Location,
    catalog::CatalogOptions,
    domain::{Bytes, DigestParseError},
    rootfs::RootfsLimits,
    trust::MinisignKey,
};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

pub use jail::JailConfig;
pub use registries::{HostConfig, RegistriesConfig};
pub use service::ServiceConfig;

/// Everything that can be configured. All of it is optional.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Directory for the database, images, kernels and VMs.
    pub state_dir: Option<Utf8PathBuf>,
    /// Directory for downloaded blobs.
    pub cache_dir: Option<Utf8PathBuf>,
    /// Short directory for the sockets of running VMs.
    pub runtime_dir: Option<Utf8PathBuf>,
    /// The guest program.
    pub guest_program: Option<Utf8PathBuf>,
    /// The QEMU system emulator.
    pub qemu: Option<Utf8PathBuf>,
    /// Firecracker.
    pub firecracker: Option<Utf8PathBuf>,
    /// A service in place of this host.
    pub service: ServiceConfig,
    /// How Firecracker is jailed.
    pub jail: JailConfig,
    /// What is let in.
    pub policy: Option<Utf8PathBuf>,
    /// Catalogs of kernels and images.
    pub catalogs: Vec<CatalogConfig>,
    /// Registries.
    pub registries: RegistriesConfig,
    /// Bounds on what images' layers may claim.
    pub limits: LimitsConfig,
}

/// A catalog of kernels and images.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CatalogConfig {
    /// How it is called.
    pub name: String,
    /// Where it is: `file:PATH`, an `https:` URL or `oci://HOST/REPOSITORY`.
    pub source: String,
    /// The digest it must have, in hexadecimal digits.
    pub sha256: Option<String>,
    /// The minisign key that must have signed it.
    pub key: Option<String>,
}

impl CatalogConfig {
    fn relative_to(self, directory: &Utf8Path) -> Self {
        let location = Location::parse(&self.source);
        let source = location.map(|location| location.absolute(directory).to_string());
        Self {
            source: source.unwrap_or(self.source),
            ..self
        }
    }

    /// What the library takes.
    fn options(&self) -> Result<CatalogOptions, String> {
        let failed = |problem: String| format!("catalog {:?}: {problem}", self.name);
        if self.name.is_empty() || self.name.contains(char::is_control) {
            return Err(failed("the name is empty or unprintable".to_owned()));
        }
        let location = Location::parse(&self.source)
            .map_err(|problem| failed(format!("source {:?}: {problem}", self.source)))?;
        let digest = self.sha256.as_deref();
        let digest = digest.map(|digits| format!("sha256:{digits}").parse());
        let key = self.key.as_deref().map(MinisignKey::parse);
        Ok(CatalogOptions {
            name: self.name.clone(),
            location,
            sha256: digest
                .transpose()
                .map_err(|error: DigestParseError| failed(error.to_string()))?,
            key: key.transpose().map_err(|error| failed(error.to_string()))?,
        })
    }
}

/// Bounds on what images' layers may claim; the library's where unset.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitsConfig {
    /// Inflated size of one layer.
    #[serde(deserialize_with = "size")]
    pub layer_size: Option<Bytes>,
    /// Inflated size of all layers together.
    #[serde(deserialize_with = "size")]
    pub total_size: Option<Bytes>,
    /// Entries of all layers together.
    pub entries: Option<u64>,
    /// Bytes of one path.
    pub path_bytes: Option<usize>,
    /// Components of one path.
    pub path_depth: Option<usize>,
    /// Bytes of one entry's extended headers.
    pub header_bytes: Option<usize>,
    /// Bytes of one extended attribute's value.
    pub xattr_bytes: Option<usize>,
    /// Inflated bytes for each compressed byte.
    pub ratio: Option<u64>,
}

impl LimitsConfig {
    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> RootfsLimits {
        let usual = RootfsLimits::default();
        RootfsLimits {
            layer_bytes: self.layer_size.unwrap_or(usual.layer_bytes),
            total_bytes: self.total_size.unwrap_or(usual.total_bytes),
            entries: self.entries.unwrap_or(usual.entries),
            path_bytes: self.path_bytes.unwrap_or(usual.path_bytes),
            path_depth: self.path_depth.unwrap_or(usual.path_depth),
            header_bytes: self.header_bytes.unwrap_or(usual.header_bytes),
            xattr_bytes: self.xattr_bytes.unwrap_or(usual.xattr_bytes),
            ratio: self.ratio.unwrap_or(usual.ratio),
        }
    }
}

/// A size as on the command line (`64GiB`).
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read configuration {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not a valid configuration.
    #[error("configuration {path}, line {line}: {problem}")]
    Invalid {
        /// The file.
        path: Utf8PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Config {
    /// Parses the text of the file at `path`.
    pub fn parse(path: &Utf8Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().iter().take(start);
            ConfigError::Invalid {
                path: path.to_owned(),
                line: 1 + before.filter(|byte| **byte == b'\n').count(),
                problem: error.message().lines().collect::<Vec<_>>().join("; "),
            }
        })?;
        let directory = path.parent().unwrap_or_else(|| Utf8Path::new("/"));
        let config = config.relative_to(directory);
        // what is wrong with a catalog is told with the file
        config.catalog_options().map_err(|problem| {
            let place = text.find("[[catalogs]]").unwrap_or(0);
            ConfigError::Invalid {
                path: path.to_owned(),
                line: 1 + text[..place].matches('\n').count(),
                problem,
            }
        })?;
        Ok(config)
    }

    /// The catalogs, or what is wrong with one; never that of a file's.
    pub fn catalog_options(&self) -> Result<Vec<CatalogOptions>, String> {
        self.catalogs.iter().map(CatalogConfig::options).collect()
    }

    /// Reads the file at `path`; a missing file is an empty configuration
    /// unless the user named it.
    pub fn read(path: &Utf8Path, named: bool) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn relative_to(self, directory: &Utf8Path) -> Self {
        let absolute = |path: Option<Utf8PathBuf>| path.map(|path| directory.join(path));
        Self {
            state_dir: absolute(self.state_dir),
            cache_dir: absolute(self.cache_dir),
            runtime_dir: absolute(self.runtime_dir),
            guest_program: absolute(self.guest_program),
            qemu: absolute(self.qemu),
            firecracker: absolute(self.firecracker),
            service: self.service.relative_to(directory),
            jail: self.jail,
            policy: absolute(self.policy),
            catalogs: (self.catalogs.into_iter())
                .map(|catalog| catalog.relative_to(directory))
                .collect(),
            registries: self.registries.relative_to(directory),
            limits: self.limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use banger_core::vmm::{JailIds, JailMode};

    use super::*;

    fn problem(text: &str) -> String {
        Config::parse(Utf8Path::new("/etc/b/config.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_key_is_read_and_paths_become_absolute() {
        let text = "state-dir = \"s\"\ncache-dir = \"/c\"\nruntime-dir = \"/r\"\n\
            guest-program = \"../g\"\nqemu = \"/q\"\nfirecracker = \"f\"\npolicy = \"p.toml\"\n[registries]\nplain-http = [\"localhost:5000\"]\n\
            [service]\nendpoint = \"unix:///s\"\ntoken-file = \"t\"\n\
            [jail]\nmode = \"always\"\nids = \"2000-2999\"\n\
            [limits]\nlayer-size = \"2G\"\nratio = 50\n\
            [[catalogs]]\nname = \"team\"\nsource = \"file:c.json\"\n";
        let config = Config::parse(Utf8Path::new("/etc/b/config.toml"), text).unwrap();
        let expected = Config {
            state_dir: Some("/etc/b/s".into()),
            cache_dir: Some("/c".into()),
            runtime_dir: Some("/r".into()),
            guest_program: Some("/etc/b/../g".into()),
            qemu: Some("/q".into()),
            firecracker: Some("/etc/b/f".into()),
            service: ServiceConfig {
                endpoint: Some("unix:///s".into()),
                token_file: Some("/etc/b/t".into()),
                ..ServiceConfig::default()
            },
            jail: JailConfig {
                mode: Some(JailMode::Always),
                ids: JailIds::new(2000, 2999),
            },
            policy: Some("/etc/b/p.toml".into()),
            catalogs: vec![CatalogConfig {
                name: "team".into(),
                source: "file:/etc/b/c.json".into(),
                sha256: None,
                key: None,
            }],
            registries: RegistriesConfig {
                plain_http: vec!["localhost:5000".into()],
                ..RegistriesConfig::default()
            },
            limits: LimitsConfig {
                layer_size: Some(Bytes::new(2 * Bytes::GIB)),
                ratio: Some(50),
                ..LimitsConfig::default()
            },
        };
        assert_eq!(config, expected);
        let limits = config.limits.limits();
        let usual = RootfsLimits::default();
        assert_eq!((limits.ratio, limits.entries), (50, usual.entries));
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let error = problem("qemu = \"/q\"\nstate = \"/s\"\n");
        assert!(
            error.starts_with("configuration /etc/b/config.toml, line 2: unknown field `state`"),
            "{error}"
        );
        assert!(problem("[registries]\nhttp = []\n").contains("unknown field `http`"));
        assert!(problem("[limits]\nlayer-size = \"much\"\n").contains("line 2"));
        assert!(problem("[jail]\nmode = \"no\"\n").contains("line 2: \"no\" is not one of auto"));
        assert!(problem("[jail]\nids = \"0-9\"\n").contains("line 2: \"0-9\" is not a range"));
        assert!(!problem("[[[").contains('\n'));
        for rest in [
            "source = \"ftp://x/c\"",
            "source = \"file:c\"\nsha256 = \"00\"",
            "source = \"file:c\"\nkey = \"00\"",
        ] {
            let text = format!("qemu = \"/q\"\n[[catalogs]]\nname = \"team\"\n{rest}\n");
            let error = problem(&text);
            assert!(error.contains("line 2: catalog \"team\""), "{error}");
        }
    }

    #[test]
    fn only_a_named_file_must_exist() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = Utf8Path::from_path(scratch.path())
            .unwrap()
            .join("config.toml");
        assert_eq!(Config::read(&missing, false).unwrap(), Config::default());
        assert!(matches!(
            Config::read(&missing, true),
            Err(ConfigError::Read { .. })
        ));
    }
}
