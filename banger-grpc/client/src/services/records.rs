//! From the API's records to the core's. Pure.
//!
//! Invariants: what makes no sense is refused and never guessed. Entry points: the
//! functions.

mod disk;
mod files;
mod vm;

use std::{fmt::Display, str::FromStr, time::Duration};

use banger_api::v1;
use banger_core::domain::{BackendKind, Bytes, Snapshot, Volume};

use crate::Failure;

pub(super) use disk::{difference, digest, disk_entry, pruned};
pub(super) use files::{image, kernel};
pub(super) use vm::{vm, vm_change};

/// What came in an answer.
pub(super) fn present<T>(record: Option<T>, what: &str) -> Result<T, Failure> {
    record.ok_or_else(|| Failure::confused(what, "it is missing"))
}

fn parse<T: FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Failure> {
    let parsed = text.parse();
    parsed.map_err(|error| Failure::confused(what, &format!("{text:?}: {error}")))
}

/// The id in the name of a resource.
fn id_in<T: FromStr<Err: Display>>(collection: &str, name: &str) -> Result<T, Failure> {
    let id = name.strip_prefix(collection).unwrap_or(name);
    parse(name, id)
}

fn time(
    what: &str,
    time: Option<prost_types::Timestamp>,
) -> Result<Option<std::time::SystemTime>, Failure> {
    let time = time.map(std::time::SystemTime::try_from).transpose();
    time.map_err(|error| Failure::confused(what, &error.to_string()))
}

fn duration(
    what: &str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Failure> {
    let duration = duration.map(Duration::try_from).transpose();
    duration.map_err(|error| Failure::confused(what, &error.to_string()))
}

/// A text that is empty where there is none.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn backend(what: &str, name: &str) -> Result<BackendKind, Failure> {
    let mut all = BackendKind::ALL.into_iter();
    all.find(|kind| kind.as_str() == name)
        .ok_or_else(|| Failure::confused(what, &format!("backend {name:?} is unknown")))
}

/// The core's words for a duration of the API, which has to be there.
pub(super) fn elapsed(
    what: &str,
    time: Option<prost_types::Duration>,
) -> Result<Duration, Failure> {
    Ok(duration(what, time)?.unwrap_or_default())
}

pub(super) fn snapshot(record: v1::Snapshot) -> Result<Snapshot, Failure> {
    let what = record.name.as_str();
    Ok(Snapshot {
        id: parse(what, &record.uid)?,
        backend: backend(what, &record.backend)?,
        size_on_disk: Bytes::new(record.on_disk_bytes),
        created: present(time(what, record.create_time)?, what)?,
        vm: vm(present(record.vm, what)?)?,
    })
}

pub(super) fn volume(record: &v1::Volume) -> Result<Volume, Failure> {
    let what = record.name.as_str();
    let users = record.vms.iter().map(|name| id_in("vms/", name));
    Ok(Volume {
        name: id_in("volumes/", what)?,
        size: Bytes::new(record.size_bytes),
        created: present(time(what, record.create_time)?, what)?,
        users: users.collect::<Result<_, _>>()?,
        // the API has none
        labels: [].into(),
    })
}
