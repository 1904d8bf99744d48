//! Forms of single values on the command line.

use std::time::{Duration, SystemTime};

use banger_core::{
    domain::{BackendKind, BootMode, Bytes, NetworkMode, OnExpiry, RootDiskMode, VolumeName},
    image::build::ContainerBuilder,
    vm::{LabelFilter, RequestedSource, VolumeRequest},
};
use camino::Utf8PathBuf;

/// Longest label key or value, in bytes.
const MAX_LABEL_LENGTH: usize = 255;

/// A label `KEY=VALUE`: the key has no space, control character or `=`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    let bad_key = |character: char| character.is_whitespace() || character.is_control();
    if key.is_empty() || key.contains(bad_key) {
        return Err("a label's key is not empty and has no space".to_owned());
    }
    if value.contains(char::is_control) {
        return Err("a label's value has no control character".to_owned());
    }
    if MAX_LABEL_LENGTH < key.len().max(value.len()) {
        return Err(format!(
            "a label has at most {MAX_LABEL_LENGTH} bytes on each side"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// A label to look for, `KEY` with any value or `KEY=VALUE`.
pub(super) fn label_filter(text: &str) -> Result<LabelFilter, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err("a label is KEY or KEY=VALUE".to_owned());
    }
    Ok(LabelFilter {
        key: key.to_owned(),
        value,
    })
}

/// A variable `KEY=VALUE`; the host's own environment is never passed on.
pub(super) fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("a variable is KEY=VALUE".to_owned()),
    }
}

/// A working directory in the guest.
pub(super) fn absolute_directory(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("a working directory is an absolute path".to_owned())
    }
}

/// Guest memory.
pub(super) fn memory(text: &str) -> Result<Bytes, String> {
    at_least(text, Bytes::from_mib(64))
}

/// A writable disk's size.
pub(super) fn disk(text: &str) -> Result<Bytes, String> {
    at_least(text, Bytes::from_mib(16))
}

fn at_least(text: &str, least: Bytes) -> Result<Bytes, String> {
    let size: Bytes = text.parse().map_err(|error| format!("{error}"))?;
    if size < least {
        return Err(format!("{size} is less than {least}"));
    }
    Ok(size)
}

/// How long ago something was; days have 24 hours.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let wrong = |_| "an age is a number and a unit: 7d, 12h, 30m".to_owned();
    let span: jiff::Span = text.parse().map_err(wrong)?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let age = span.to_duration(days).map_err(wrong)?;
    Duration::try_from(age).map_err(|_| "an age is not negative".to_owned())
}

/// A point in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// At this time.
    At(SystemTime),
}

/// An age, or a time as of RFC 3339.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(time.into()));
    }
    age(text).map(Since::Ago).map_err(|_| {
        "it is an age (10m, 2h) or a time with its zone (2026-01-31T12:00:00Z)".to_owned()
    })
}

/// How long something may take or live.
pub(super) fn limit(text: &str) -> Result<Duration, String> {
    match age(text) {
        Ok(Duration::ZERO) => Err("it must be more than nothing".to_owned()),
        Ok(limit) => Ok(limit),
        Err(_) => Err("a duration is a number and a unit: 2h, 30m, 7d".to_owned()),
    }
}

pub(super) fn on_expiry(text: &str) -> Result<OnExpiry, String> {
    let known = OnExpiry::ALL
        .into_iter()
        .find(|choice| choice.as_str() == text);
    known.ok_or_else(|| {
        let names = OnExpiry::ALL.map(OnExpiry::as_str).join(", ");
        format!("the choices are: {names}")
    })
}

/// A file of the host and a path of the guest, `SOURCE:PATH`: what is behind the
/// last colon begins with `/`.
pub(super) fn guest_copy(text: &str) -> Result<(Utf8PathBuf, String), String> {
    match text.rsplit_once(':') {
        Some((source, path)) if !source.is_empty() && path.starts_with('/') => {
            Ok((source.into(), path.to_owned()))
        }
        _ => Err("a copy is SOURCE:PATH, with an absolute path of the guest".to_owned()),
    }
}

/// A program that builds Containerfiles.
pub(super) fn container_builder(text: &str) -> Result<ContainerBuilder, String> {
    let mut known = ContainerBuilder::ALL.into_iter();
    let names = ContainerBuilder::ALL.map(ContainerBuilder::as_str);
    let found = known.find(|builder| builder.as_str() == text);
    found.ok_or_else(|| format!("the programs are: {}", names.join(", ")))
}

/// A network's name.
pub(super) fn network(text: &str) -> Result<NetworkMode, String> {
    let names = NetworkMode::ALL.map(NetworkMode::as_str);
    let found = NetworkMode::ALL
        .into_iter()
        .find(|mode| mode.as_str() == text);
    found.ok_or_else(|| format!("the networks are: {}", names.join(", ")))
}

/// A way to make a root disk.
pub(super) fn root_disk(text: &str) -> Result<RootDiskMode, String> {
    match text {
        "overlay" => Ok(RootDiskMode::Overlay),
        "clone" => Ok(RootDiskMode::Clone),
        _ => Err("the modes are: overlay, clone".to_owned()),
    }
}

/// A volume `SOURCE:PATH[:ro]`. A source with a slash or a dot is a path of the
/// host; others are names of volumes, which have neither.
pub(super) fn volume(text: &str) -> Result<VolumeRequest, String> {
    let form = "a volume is SOURCE:PATH[:ro], with an absolute path of the guest";
    let (rest, read_only) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":rw").unwrap_or(text), false),
    };
    let (source, target) = rest.rsplit_once(':').ok_or(form)?;
    if source.is_empty() || !target.starts_with('/') {
        return Err(form.to_owned());
    }
    let source = if source.contains(['/', '.']) {
        RequestedSource::Path(source.into())
    } else {
        let name: Result<VolumeName, _> = source.parse();
        RequestedSource::Named(name.map_err(|error| error.to_string())?)
    };
    Ok(VolumeRequest {
        source,
        target: target.to_owned(),
        read_only,
    })
}

/// A boot mode's name.
pub(super) fn boot_mode(text: &str) -> Result<BootMode, String> {
    let known = BootMode::ALL.into_iter().find(|mode| mode.as_str() == text);
    known.ok_or_else(|| {
        let names = BootMode::ALL.map(BootMode::as_str).join(", ");
        format!("the modes are: {names}")
    })
}

/// A backend's name.
pub(super) fn backend(text: &str) -> Result<BackendKind, String> {
    let names = BackendKind::ALL.map(BackendKind::as_str);
    let found = BackendKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text);
    found.ok_or_else(|| format!("the backends are: {}", names.join(", ")))
}
