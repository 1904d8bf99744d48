//! What `vm cp` copies, of its two arguments. Pure.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use banger_core::{
    domain::Selector,
    vm::{GuestPath, copy::CopyOptions},
};
use camino::Utf8Path;

use crate::{args::CopyArgs, error::CliError};

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRequest {
    /// The VM.
    pub vm: Selector,
    /// Between what.
    pub way: CopyWay,
    /// How.
    pub options: CopyOptions,
}

/// Between what is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyWay {
    /// From a path of the host to one of the guest.
    In(PathBuf, GuestPath),
    /// From a path of the guest to one of the host.
    Out(GuestPath, PathBuf),
    /// From a tar file on standard input to a directory of the guest.
    Unpack(GuestPath),
    /// From a path of the guest to a tar file on standard output.
    Pack(GuestPath),
}

/// One of the two arguments.
enum Place {
    Standard,
    Host(PathBuf),
    Guest(Selector, GuestPath),
}

pub(super) fn copy(args: &CopyArgs, directory: &Utf8Path) -> Result<CopyRequest, CliError> {
    let source = place(&args.source, directory)?;
    let destination = place(&args.destination, directory)?;
    let (vm, way) = match (source, destination) {
        (Place::Host(source), Place::Guest(vm, path)) => (vm, CopyWay::In(source, path)),
        (Place::Standard, Place::Guest(vm, path)) => (vm, CopyWay::Unpack(path)),
        (Place::Guest(vm, path), Place::Host(target)) => (vm, CopyWay::Out(path, target)),
        (Place::Guest(vm, path), Place::Standard) => (vm, CopyWay::Pack(path)),
        (Place::Guest(..), Place::Guest(..)) => {
            return Err(usage("files are not copied from one VM to another"));
        }
        _ => return Err(usage("one of SOURCE and DESTINATION is VM:PATH")),
    };
    if matches!(way, CopyWay::Unpack(_)) && args.follow_link {
        return Err(usage("--follow-link needs a SOURCE that is a file"));
    }
    Ok(CopyRequest {
        vm,
        way,
        options: CopyOptions {
            keep_owners: args.archive,
            follow_link: args.follow_link,
        },
    })
}

fn usage(message: &str) -> CliError {
    CliError::Usage {
        message: message.to_owned(),
        hint: Some("a path of the host that has a colon begins with / or .".to_owned()),
    }
}

/// As docker has it: what begins with `/` or `.` is never VM:PATH.
fn place(text: &OsStr, directory: &Utf8Path) -> Result<Place, CliError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(usage("a path is empty"));
    }
    if bytes == b"-" {
        return Ok(Place::Standard);
    }
    let colon = bytes.iter().position(|byte| *byte == b':');
    let is_path = bytes.starts_with(b"/") || bytes.starts_with(b".");
    let Some(colon) = colon.filter(|_| !is_path) else {
        return Ok(Place::Host(directory.as_std_path().join(Path::new(text))));
    };
    let (vm, path) = bytes.split_at(colon);
    let path = path.strip_prefix(b":").unwrap_or_default();
    let vm = OsStr::from_bytes(vm).to_str().filter(|vm| !vm.is_empty());
    match vm {
        Some(vm) if !path.is_empty() => Ok(Place::Guest(Selector::from(vm), path.to_vec())),
        _ => Err(usage("a file of a guest is VM:PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(source: &str, destination: &str) -> Option<CopyWay> {
        let args = CopyArgs {
            source: source.into(),
            destination: destination.into(),
            archive: false,
            follow_link: false,
        };
        copy(&args, Utf8Path::new("/here")).ok().map(|request| {
            assert_eq!(request.vm, Selector::from("box"));
            request.way
        })
    }

    #[test]
    fn one_side_is_a_guest() {
        let guest = |path: &str| path.as_bytes().to_vec();
        let cases = [
            ("a", "box:/b", CopyWay::In("/here/a".into(), guest("/b"))),
            ("a/.", "box:b", CopyWay::In("/here/a/.".into(), guest("b"))),
            (
                "./a:b",
                "box:/",
                CopyWay::In("/here/./a:b".into(), guest("/")),
            ),
            ("box:/a:b", "/c", CopyWay::Out(guest("/a:b"), "/c".into())),
            ("box:/a/", ".", CopyWay::Out(guest("/a/"), "/here/.".into())),
            ("-", "box:/a", CopyWay::Unpack(guest("/a"))),
            ("box:/a", "-", CopyWay::Pack(guest("/a"))),
        ];
        for (source, destination, expected) in cases {
            assert_eq!(
                way(source, destination),
                Some(expected),
                "{source} {destination}"
            );
        }
        for (source, destination) in [
            ("a", "b"),
            ("-", "-"),
            ("box:/a", "box:/b"),
            ("box:", "a"),
            (":/a", "a"),
            ("", "box:/a"),
            ("-", "a"),
        ] {
            assert_eq!(way(source, destination), None, "{source} {destination}");
        }
    }
}
