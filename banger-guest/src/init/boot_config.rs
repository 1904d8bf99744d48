//! What the host wrote for this boot, checked. Pure.

use std::path::{Path, PathBuf};

use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{self as wire, BootConfig, root_disk::Layout},
};
use prost::Message as _;

/// Longest serial number of a virtio disk (`VIRTIO_BLK_ID_BYTES`, virtio 1.2, 5.2.6).
const SERIAL_LIMIT: usize = 20;
/// Longest host name of Linux.
const HOSTNAME_LIMIT: usize = 64;

/// A boot configuration that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigError {
    /// Not the message it should be.
    #[error("the boot configuration cannot be decoded: {0}")]
    Encoding(prost::DecodeError),
    /// No common generation.
    #[error(
        "the host speaks generation {0} of the guest protocol, this guest 1 to {GUEST_GENERATION}"
    )]
    Generation(u32),
    /// A field's value is missing or impossible.
    #[error("the boot configuration's {field} is missing or invalid: {value:?}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        value: String,
    },
}

/// What this boot is to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// The machine's name.
    pub(super) hostname: String,
    /// Modules in the order to load them.
    pub(super) modules: Vec<PathBuf>,
    /// The root's disks.
    pub(super) root: RootDisks<String>,
    /// Name of the channel's port.
    pub(super) channel_port: String,
}

/// How the root is made, each disk being known by a `D`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RootDisks<D> {
    /// A base that is only read and a disk for the writes.
    Overlay {
        /// The image.
        base: D,
        /// The writes.
        writable: D,
    },
    /// One disk.
    Plain(D),
}

impl Config {
    /// Reads and checks an encoded `BootConfig`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config = BootConfig::decode(bytes).map_err(ConfigError::Encoding)?;
        // the lower one wins, and 1 is the lowest there is
        if config.generation.min(GUEST_GENERATION) == 0 {
            return Err(ConfigError::Generation(config.generation));
        }
        let channel_port = config.channel_port;
        let channel_port = checked("channel port", channel_port, |name| !name.is_empty())?;
        Ok(Self {
            hostname: checked("host name", config.hostname, is_hostname)?,
            modules: config
                .modules
                .into_iter()
                .map(module)
                .collect::<Result<_, _>>()?,
            root: root(config.root)?,
            channel_port,
        })
    }

    /// Whether writes to the root go to a disk of their own.
    pub(super) fn has_overlay(&self) -> bool {
        matches!(self.root, RootDisks::Overlay { .. })
    }
}

fn root(root: Option<wire::RootDisk>) -> Result<RootDisks<String>, ConfigError> {
    match root.and_then(|root| root.layout) {
        Some(Layout::Overlay(overlay)) => Ok(RootDisks::Overlay {
            base: serial(overlay.base_serial)?,
            writable: serial(overlay.writable_serial)?,
        }),
        Some(Layout::Plain(plain)) => Ok(RootDisks::Plain(serial(plain.serial)?)),
        None => Err(ConfigError::Field {
            field: "root",
            value: String::new(),
        }),
    }
}

fn serial(serial: String) -> Result<String, ConfigError> {
    checked("disk serial", serial, |serial| {
        (1..=SERIAL_LIMIT).contains(&serial.len())
    })
}

fn module(path: String) -> Result<PathBuf, ConfigError> {
    let path = checked("module", path, |path| Path::new(path).is_absolute())?;
    Ok(PathBuf::from(path))
}

fn is_hostname(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (1..=HOSTNAME_LIMIT).contains(&name.len()) && name.bytes().all(fits)
}

fn checked(
    field: &'static str,
    value: String,
    is_valid: impl FnOnce(&str) -> bool,
) -> Result<String, ConfigError> {
    if is_valid(&value) {
        return Ok(value);
    }
    Err(ConfigError::Field { field, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> BootConfig {
        let layout = Layout::Overlay(wire::OverlayRoot {
            base_serial: "base".into(),
            writable_serial: "writable".into(),
        });
        BootConfig {
            generation: 1,
            hostname: "build-1".into(),
            modules: vec!["/lib/modules/virtio.ko".into()],
            root: Some(wire::RootDisk {
                layout: Some(layout),
            }),
            channel_port: "banger".into(),
        }
    }

    fn parse(message: &BootConfig) -> Result<Config, ConfigError> {
        Config::parse(&message.encode_to_vec())
    }

    fn refused_field(change: impl FnOnce(&mut BootConfig)) -> &'static str {
        let mut message = message();
        change(&mut message);
        match parse(&message) {
            Err(ConfigError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    fn plain(serial: &str) -> wire::RootDisk {
        let serial = serial.to_owned();
        let layout = Some(Layout::Plain(wire::PlainRoot { serial }));
        wire::RootDisk { layout }
    }

    #[test]
    fn a_whole_configuration_is_taken() {
        let config = parse(&message()).unwrap();
        assert!(config.has_overlay());
        assert_eq!(config.modules, [PathBuf::from("/lib/modules/virtio.ko")]);
        assert_eq!(
            (config.hostname.as_str(), config.channel_port.as_str()),
            ("build-1", "banger")
        );
        let mut message = message();
        message.root = Some(plain("root"));
        let config = parse(&message).unwrap();
        assert_eq!(config.root, RootDisks::Plain("root".to_owned()));
    }

    #[test]
    fn the_lower_generation_wins_and_none_is_refused() {
        let mut message = message();
        message.generation = GUEST_GENERATION + 8;
        assert!(parse(&message).is_ok());
        message.generation = 0;
        assert_eq!(parse(&message), Err(ConfigError::Generation(0)));
    }

    #[test]
    fn missing_and_impossible_values_are_named() {
        assert_eq!(refused_field(|config| config.root = None), "root");
        assert_eq!(
            refused_field(|config| config.root = Some(plain(""))),
            "disk serial"
        );
        let long = "x".repeat(SERIAL_LIMIT + 1);
        assert_eq!(
            refused_field(|config| config.root = Some(plain(&long))),
            "disk serial"
        );
        assert_eq!(refused_field(|config| config.hostname.clear()), "host name");
        assert_eq!(
            refused_field(|config| config.hostname = "a b".into()),
            "host name"
        );
        assert_eq!(
            refused_field(|config| config.channel_port.clear()),
            "channel port"
        );
        assert_eq!(
            refused_field(|config| config.modules = vec!["x.ko".into()]),
            "module"
        );
        assert!(matches!(
            Config::parse(b"\xff\xff\xff"),
            Err(ConfigError::Encoding(_))
        ));
    }
}
