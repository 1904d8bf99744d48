//! What the host wrote for this boot, checked. Pure.

use std::{
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
};

use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{self as wire, BootConfig, root_disk::Layout},
};
use prost::Message as _;

use crate::agent::Channel;

/// Longest serial number of a virtio disk (`VIRTIO_BLK_ID_BYTES`, virtio 1.2, 5.2.6).
const SERIAL_LIMIT: usize = 20;
/// Longest host name of Linux.
const HOSTNAME_LIMIT: usize = 64;
/// Longest path of Linux, without its end.
const PATH_LIMIT: usize = 4095;
/// Most resolvers that resolv.conf(5) takes.
const RESOLVER_LIMIT: usize = 3;

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
    /// Where the channel is.
    pub(super) channel: Channel,
    /// Whether the machine ends by a reset instead of power-off.
    pub(super) ends_by_reset: bool,
    /// The network interface, where there is one.
    pub(super) network: Option<Network>,
    /// Volumes in the order to mount them.
    pub(super) volumes: Vec<Volume>,
    /// What the image's own init is to be run as, its program first; none when
    /// this program stays the first process. Empty when it is to be looked for.
    pub(super) image_init: Option<Vec<String>>,
}

/// A disk beside those of the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// Its serial number.
    pub(super) serial: String,
    /// Where it is to be found.
    pub(super) path: PathBuf,
    /// Whether nothing may be written to it.
    pub(super) read_only: bool,
    /// Whether it has no file system: the path leads to the device.
    pub(super) raw: bool,
}

/// What becomes of the network interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// By which it is found, as sysfs has it.
    pub(super) hardware_address: String,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// Bits of the address that are the network's.
    pub(super) prefix: u8,
    /// The way out.
    pub(super) gateway: Ipv4Addr,
    /// Who answers for names.
    pub(super) resolvers: Vec<Ipv4Addr>,
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
        let channel = channel(config.channel_port, config.channel_vsock_port)?;
        Ok(Self {
            hostname: checked("host name", config.hostname, is_hostname)?,
            modules: config
                .modules
                .into_iter()
                .map(module)
                .collect::<Result<_, _>>()?,
            root: root(config.root)?,
            channel,
            ends_by_reset: config.ends_by_reset,
            network: config.network.map(network).transpose()?,
            volumes: config
                .volumes
                .into_iter()
                .map(volume)
                .collect::<Result<_, _>>()?,
            image_init: config.image_init.map(image_init).transpose()?,
        })
    }

    /// Whether writes to the root go to a disk of their own.
    pub(super) fn has_overlay(&self) -> bool {
        matches!(self.root, RootDisks::Overlay { .. })
    }
}

fn network(network: wire::NetworkInterface) -> Result<Network, ConfigError> {
    let resolvers = network.resolvers;
    let prefix = u8::try_from(network.prefix_length).ok();
    let prefix = prefix.filter(|prefix| (1..=30).contains(prefix));
    if RESOLVER_LIMIT < resolvers.len() {
        return Err(ConfigError::Field {
            field: "resolvers",
            value: resolvers.join(" "),
        });
    }
    Ok(Network {
        hardware_address: checked(
            "hardware address",
            network.hardware_address,
            is_hardware_address,
        )?,
        address: address("address", network.address)?,
        prefix: prefix.ok_or_else(|| ConfigError::Field {
            field: "prefix length",
            value: network.prefix_length.to_string(),
        })?,
        gateway: address("gateway", network.gateway)?,
        resolvers: resolvers
            .into_iter()
            .map(|resolver| address("resolver", resolver))
            .collect::<Result<_, _>>()?,
    })
}

fn address(field: &'static str, value: String) -> Result<Ipv4Addr, ConfigError> {
    value
        .parse()
        .map_err(|_| ConfigError::Field { field, value })
}

/// Six lower-case bytes with colons between.
fn is_hardware_address(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(digit);
    text.split(':').count() == 6 && text.split(':').all(is_byte)
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

fn channel(serial_port: String, vsock_port: u32) -> Result<Channel, ConfigError> {
    if vsock_port != 0 {
        return Ok(Channel::Vsock(vsock_port));
    }
    let name = checked("channel port", serial_port, |name| !name.is_empty())?;
    Ok(Channel::Serial(name))
}

fn serial(serial: String) -> Result<String, ConfigError> {
    checked("disk serial", serial, |serial| {
        (1..=SERIAL_LIMIT).contains(&serial.len())
    })
}

fn volume(volume: wire::Volume) -> Result<Volume, ConfigError> {
    let path = checked("volume's path", volume.path, is_plain_path)?;
    Ok(Volume {
        serial: serial(volume.serial)?,
        path: PathBuf::from(path),
        read_only: volume.read_only,
        raw: volume.raw,
    })
}

fn image_init(init: wire::ImageInit) -> Result<Vec<String>, ConfigError> {
    if let Some(program) = init.argv.first() {
        checked("init", program.clone(), |path| {
            Path::new(path).is_absolute()
        })?;
    }
    Ok(init.argv)
}

/// Absolute, not the root itself, and without `..`.
fn is_plain_path(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.next() == Some(Component::RootDir)
        && path.len() <= PATH_LIMIT
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
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
            network: Some(wire::NetworkInterface {
                hardware_address: "02:00:00:00:0a:01".into(),
                address: "10.0.2.15".into(),
                prefix_length: 24,
                gateway: "10.0.2.2".into(),
                resolvers: vec!["10.0.2.3".into()],
            }),
            ..BootConfig::default()
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
        assert_eq!(config.hostname, "build-1");
        assert_eq!(config.channel, Channel::Serial("banger".to_owned()));
        assert!(!config.ends_by_reset);
        let network = config.network.unwrap();
        assert_eq!(network.hardware_address, "02:00:00:00:0a:01");
        assert_eq!(
            (network.address, network.prefix),
            (Ipv4Addr::new(10, 0, 2, 15), 24)
        );
        let mut message = message();
        message.network = None;
        message.root = Some(plain("root"));
        let config = parse(&message).unwrap();
        assert_eq!(config.root, RootDisks::Plain("root".to_owned()));
        assert_eq!(config.network, None);
    }

    #[test]
    fn a_vsock_port_takes_the_place_of_a_serial_one() {
        let mut message = message();
        message.channel_port.clear();
        message.channel_vsock_port = 1024;
        message.ends_by_reset = true;
        let config = parse(&message).unwrap();
        assert_eq!(config.channel, Channel::Vsock(1024));
        assert!(config.ends_by_reset);
    }

    #[test]
    fn volumes_and_an_init_are_taken() {
        let mut message = message();
        assert_eq!(parse(&message).unwrap().image_init, None);
        message.image_init = Some(wire::ImageInit::default());
        message.volumes = vec![volume_at("/srv/data"), volume_at("/a/./b/")];
        let config = parse(&message).unwrap();
        assert_eq!(config.image_init, Some(Vec::new()));
        assert_eq!(config.volumes[0].path, Path::new("/srv/data"));
        assert!(config.volumes[1].read_only && !config.volumes[1].raw);
    }

    #[test]
    fn a_volume_has_a_place_below_the_root() {
        for path in ["", "/", "srv", "/srv/../etc", "//"] {
            let refused = refused_field(|config| config.volumes = vec![volume_at(path)]);
            assert_eq!(refused, "volume's path", "{path}");
        }
        let relative = wire::ImageInit {
            argv: vec!["init".to_owned()],
        };
        assert_eq!(
            refused_field(|config| config.image_init = Some(relative)),
            "init"
        );
    }

    fn volume_at(path: &str) -> wire::Volume {
        wire::Volume {
            serial: "volume-0".to_owned(),
            path: path.to_owned(),
            read_only: true,
            raw: false,
        }
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
    fn a_network_is_checked_field_by_field() {
        let refused = |change: fn(&mut wire::NetworkInterface)| {
            refused_field(|config| change(config.network.as_mut().unwrap()))
        };
        assert_eq!(refused(|network| network.address = "::1".into()), "address");
        assert_eq!(refused(|network| network.gateway.clear()), "gateway");
        assert_eq!(
            refused(|network| network.prefix_length = 31),
            "prefix length"
        );
        assert_eq!(
            refused(|network| network.resolvers.push("name".into())),
            "resolver"
        );
        assert_eq!(
            refused(|network| network.resolvers = vec!["1.1.1.1".into(); 4]),
            "resolvers"
        );
        for text in ["", "02:00:00:00:00", "02:00:00:00:00:0G", "/etc/x"] {
            let mut message = message();
            let network = message.network.as_mut().unwrap();
            text.clone_into(&mut network.hardware_address);
            assert!(parse(&message).is_err(), "{text}");
        }
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
