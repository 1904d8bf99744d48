//! Forms of single values on the command line.

use std::time::Duration;

use banger_core::{
    domain::{BackendKind, Bytes},
    image::build::ContainerBuilder,
    vm::LabelFilter,
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

/// A backend's name.
pub(super) fn backend(text: &str) -> Result<BackendKind, String> {
    if text == BackendKind::Qemu.as_str() {
        return Ok(BackendKind::Qemu);
    }
    Err(format!("the backends are: {}", BackendKind::Qemu.as_str()))
}
