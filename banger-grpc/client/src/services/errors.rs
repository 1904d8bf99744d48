//! From what a server said to the core's errors. Pure.
//!
//! Invariants: an error that front ends tell apart is the core's own wherever the
//! server's words and facts suffice to make it; any other one is a
//! [`RemoteError`] with all that the server said.

mod build;
mod connection;
mod volume;

use std::str::FromStr;

use banger_api::{reason, v1::ErrorReason};
use banger_core::{
    domain::{ImageName, KernelName, PublishedPort, Selector, VmName, VmState},
    image::{
        BundleImageError, DeleteImageError, ImageQueryError, PromoteError, PruneError, PullError,
        ReadImageError, RegisterError, SaveError,
    },
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, PullKernelError,
        ResolveKernelError,
    },
    remote::RemoteError,
    vm::{
        BootFailure, CopyError, CreateVmError, DeleteSnapshotError, DeleteVmError, ExecError,
        ExecId, FileFailure, LogsError, PauseVmError, RestoreVmError, SetVmError,
        SnapshotQueryError, SnapshotVmError, SpawnFailure, StartVmError, StopVmError,
        VmChangesError, VmQueryError, VmStatsError,
    },
};

use crate::Failure;

/// The fact that names what a failure is about.
const OBJECT: &str = "object";
/// The fact that tells the error's own words from those of its causes.
const WORDS: &str = "words";

impl From<Failure> for RemoteError {
    fn from(failure: Failure) -> Self {
        let (text, causes) = words(&failure);
        let reason = failure.reason.map(|reason| reason::name(reason).to_owned());
        let facts = failure.facts.into_iter().collect();
        Self::new(failure.kind, text, causes).because(reason, facts)
    }
}

/// The error's own words, and those of its causes: the server says how long each is.
fn words(failure: &Failure) -> (String, Vec<String>) {
    let mut rest = failure.message.as_str();
    let mut parts = Vec::new();
    let lengths = failure.facts.get(WORDS).map_or("", String::as_str);
    for length in lengths.split(',').filter_map(|length| length.parse().ok()) {
        let Some((part, left)) = rest.split_at_checked(length) else {
            break;
        };
        parts.push(part.to_owned());
        let Some(left) = left.strip_prefix(": ") else {
            return own(parts, left);
        };
        rest = left;
    }
    own(parts, rest)
}

fn own(mut parts: Vec<String>, rest: &str) -> (String, Vec<String>) {
    if !rest.is_empty() {
        parts.push(rest.to_owned());
    }
    let mut parts = parts.into_iter();
    (parts.next().unwrap_or_default(), parts.collect())
}

fn fact<T: FromStr>(failure: &Failure, key: &str) -> Option<T> {
    failure.facts.get(key)?.parse().ok()
}

fn state(failure: &Failure) -> Option<VmState> {
    let name = failure.facts.get("state")?;
    VmState::ALL.into_iter().find(|one| one.as_str() == name)
}

fn object(failure: &Failure) -> Option<Selector> {
    let object = failure.facts.get(OBJECT)?;
    Some(Selector::from(object.as_str()))
}

/// What follows the words with which an error begins.
fn after(failure: &Failure, beginning: &str) -> String {
    let rest = failure.message.strip_prefix(beginning);
    rest.unwrap_or(&failure.message).to_owned()
}

/// One that the core has, or else what the server said.
fn or_remote<E: From<RemoteError>>(failure: Failure, known: Option<E>) -> E {
    known.unwrap_or_else(|| RemoteError::from(failure).into())
}

/// What a family of the core's errors makes of a server's words.
pub(super) trait FromServer: From<RemoteError> {
    /// The error of the family, if it is one that the family has.
    fn known(failure: &Failure) -> Option<Self>;

    /// The error.
    fn from_server(failure: Failure) -> Self {
        let known = Self::known(&failure);
        or_remote(failure, known)
    }
}

impl FromServer for VmQueryError {
    fn known(failure: &Failure) -> Option<Self> {
        (failure.reason? == ErrorReason::VmNotFound).then_some(())?;
        let selector = object(failure)?;
        Some(Self::NotFound { selector })
    }
}

impl FromServer for ImageQueryError {
    fn known(failure: &Failure) -> Option<Self> {
        (failure.reason? == ErrorReason::ImageNotFound).then_some(())?;
        let selector = object(failure)?;
        Some(Self::NotFound { selector })
    }
}

impl FromServer for KernelQueryError {
    fn known(failure: &Failure) -> Option<Self> {
        (failure.reason? == ErrorReason::KernelNotFound).then_some(())?;
        let name = fact(failure, OBJECT)?;
        Some(Self::NotFound { name })
    }
}

impl FromServer for SnapshotQueryError {
    fn known(failure: &Failure) -> Option<Self> {
        (failure.reason? == ErrorReason::SnapshotNotFound).then_some(())?;
        let selector = object(failure)?;
        Some(Self::NotFound { selector })
    }
}

impl FromServer for CreateVmError {
    fn known(failure: &Failure) -> Option<Self> {
        if failure.reason? == ErrorReason::VmExists {
            let name = fact(failure, OBJECT)?;
            return Some(Self::AlreadyExists { name });
        }
        let of_volume = || volume::of_vm(failure).map(Self::Volume);
        ImageQueryError::known(failure)
            .map(Self::Image)
            .or_else(of_volume)
    }
}

impl FromServer for StartVmError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<VmName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::VmWrongState => Some(Self::WrongState {
                name: name()?,
                state: state(failure)?,
            }),
            ErrorReason::VmBusy => Some(Self::Busy { name: name()? }),
            ErrorReason::VmLeaseOver => Some(Self::LeaseOver { name: name()? }),
            ErrorReason::VmBootFailed => boot_failed(failure, name()?),
            ErrorReason::HostPortTaken => Some(Self::Port {
                name: name()?,
                port: fact::<PublishedPort>(failure, "port")?,
                source: rustix::io::Errno::ADDRINUSE.into(),
            }),
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

fn boot_failed(failure: &Failure, name: VmName) -> Option<StartVmError> {
    let sort = failure.facts.get("failure")?;
    let mut sorts = BootFailure::ALL.into_iter();
    let stage = failure.facts.get("stage")?.clone();
    let beginning = format!("VM {name} failed to boot at stage {stage}: ");
    Some(StartVmError::BootFailed {
        failure: sorts.find(|one| one.as_str() == sort)?,
        cause: after(failure, &beginning),
        console_tail: failure.facts.get("console").cloned().unwrap_or_default(),
        name,
        stage,
    })
}

impl FromServer for StopVmError {
    fn known(failure: &Failure) -> Option<Self> {
        VmQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for DeleteVmError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<VmName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::VmWrongState => Some(Self::Running {
                name: name()?,
                state: state(failure)?,
            }),
            ErrorReason::VmBusy => Some(Self::Busy { name: name()? }),
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

impl FromServer for PauseVmError {
    fn known(failure: &Failure) -> Option<Self> {
        match failure.reason? {
            ErrorReason::VmWrongState => Some(Self::NotRunning {
                name: fact(failure, OBJECT)?,
                state: state(failure)?,
            }),
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

impl FromServer for SetVmError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<VmName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::VmWrongState => Some(Self::Running {
                name: name()?,
                state: state(failure)?,
            }),
            ErrorReason::VmBusy => Some(Self::Busy { name: name()? }),
            ErrorReason::VmChanged => Some(Self::Changed { name: name()? }),
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

impl FromServer for LogsError {
    fn known(failure: &Failure) -> Option<Self> {
        VmQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for VmStatsError {
    fn known(failure: &Failure) -> Option<Self> {
        VmQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for VmChangesError {
    fn known(failure: &Failure) -> Option<Self> {
        VmQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for SnapshotVmError {
    fn known(failure: &Failure) -> Option<Self> {
        match failure.reason? {
            ErrorReason::VmWrongState => Some(Self::NotRunning {
                name: fact(failure, OBJECT)?,
                state: state(failure)?,
            }),
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

impl FromServer for RestoreVmError {
    fn known(failure: &Failure) -> Option<Self> {
        let snapshot = || SnapshotQueryError::known(failure).map(Self::Snapshot);
        let create = || CreateVmError::known(failure).map(Self::Create);
        let start = || StartVmError::known(failure).map(Self::Start);
        snapshot().or_else(create).or_else(start)
    }
}

impl FromServer for DeleteSnapshotError {
    fn known(failure: &Failure) -> Option<Self> {
        SnapshotQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for CopyError {
    fn known(failure: &Failure) -> Option<Self> {
        match failure.reason? {
            ErrorReason::FileNotFound
            | ErrorReason::FileWrongKind
            | ErrorReason::FileForbidden
            | ErrorReason::GuestDiskFull => {
                let name: VmName = fact(failure, OBJECT)?;
                let sort = failure.facts.get("failure")?;
                let mut sorts = FileFailure::ALL.into_iter();
                Some(Self::Guest {
                    failure: sorts.find(|one| one.as_str() == sort)?,
                    message: after(failure, &format!("VM {name}: ")),
                    name,
                })
            }
            ErrorReason::VmWrongState => Some(Self::NotRunning {
                name: fact(failure, OBJECT)?,
                state: state(failure)?,
            }),
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

impl FromServer for ExecError {
    fn known(failure: &Failure) -> Option<Self> {
        let reason = failure.reason?;
        if let Some(sort) = spawn(reason) {
            const WHY: &str = " cannot be run in the guest: ";
            let (program, message) = failure.message.split_once(WHY)?;
            return Some(Self::Spawn {
                program: program.to_owned(),
                failure: sort,
                message: message.to_owned(),
            });
        }
        let id = || fact::<ExecId>(failure, OBJECT);
        match reason {
            ErrorReason::VmWrongState => Some(Self::NotRunning {
                name: fact(failure, OBJECT)?,
                state: state(failure)?,
            }),
            ErrorReason::ExecTakenOver => Some(Self::TakenOver { id: id()? }),
            ErrorReason::InvalidRequest if failure.message == Self::NoCommand.to_string() => {
                Some(Self::NoCommand)
            }
            ErrorReason::VmLost => {
                let name: VmName = fact(failure, OBJECT)?;
                let beginning = format!("VM {name} went away while the command ran: ");
                Some(Self::VmLost {
                    problem: after(failure, &beginning),
                    name,
                })
            }
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}

impl Failure {
    /// The same of a command of that machine: what names the machine is known here.
    pub(super) fn of_exec(self, vm: &VmName, id: &ExecId) -> ExecError {
        let (name, id) = (vm.clone(), id.clone());
        match self.reason {
            Some(ErrorReason::ExecNotFound) => ExecError::NoSuchExec { name, id },
            Some(ErrorReason::RequestIdReused) => ExecError::IdTaken { name, id },
            _ => ExecError::from_server(self),
        }
    }
}

const fn spawn(reason: ErrorReason) -> Option<SpawnFailure> {
    match reason {
        ErrorReason::ExecProgramNotFound => Some(SpawnFailure::NotFound),
        ErrorReason::ExecNotExecutable => Some(SpawnFailure::NotExecutable),
        ErrorReason::ExecBadWorkingDirectory => Some(SpawnFailure::BadWorkingDirectory),
        ErrorReason::ExecUnknownUser => Some(SpawnFailure::UnknownUser),
        _ => None,
    }
}

impl FromServer for PullError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<ImageName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::ImageExists => Some(Self::AlreadyExists { name: name()? }),
            ErrorReason::NotInCatalog => Some(Self::NotInCatalog { name: name()? }),
            ErrorReason::InvalidRequest => without_kernel(failure),
            _ => None,
        }
    }
}

/// An image that needs a kernel of those there are.
fn without_kernel(failure: &Failure) -> Option<PullError> {
    const WHAT: &str = " cannot be pulled without a usable kernel";
    let (text, causes) = words(failure);
    let name = text.strip_prefix("image ")?.strip_suffix(WHAT)?;
    let source = ResolveKernelError::Nothing;
    (causes == [source.to_string()]).then_some(())?;
    let name = name.parse().ok()?;
    Some(PullError::Kernel { name, source })
}

impl FromServer for DeleteImageError {
    fn known(failure: &Failure) -> Option<Self> {
        ImageQueryError::known(failure).map(Self::Query)
    }
}

/// The image, if it is that which keeps it from something.
fn image_in_state(failure: &Failure, state: &str) -> Option<ImageName> {
    let is_so = failure.facts.get("state").is_some_and(|is| is == state);
    is_so.then(|| fact(failure, OBJECT)).flatten()
}

impl FromServer for ReadImageError {
    fn known(failure: &Failure) -> Option<Self> {
        let changed = image_in_state(failure, "changed").map(|name| Self::Changed { name });
        changed.or_else(|| ImageQueryError::known(failure).map(Self::Query))
    }
}

impl FromServer for SaveError {
    fn known(failure: &Failure) -> Option<Self> {
        let changed = image_in_state(failure, "changed").map(|name| Self::Changed { name });
        changed.or_else(|| ImageQueryError::known(failure).map(Self::Query))
    }
}

impl FromServer for BundleImageError {
    fn known(failure: &Failure) -> Option<Self> {
        ImageQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for BundleKernelError {
    fn known(failure: &Failure) -> Option<Self> {
        KernelQueryError::known(failure).map(Self::Query)
    }
}

impl FromServer for PromoteError {
    fn known(failure: &Failure) -> Option<Self> {
        let managed = image_in_state(failure, "managed").map(|name| Self::Managed { name });
        let changed = || image_in_state(failure, "changed").map(|name| Self::Changed { name });
        let query = || ImageQueryError::known(failure).map(Self::Query);
        managed.or_else(changed).or_else(query)
    }
}

impl FromServer for RegisterError {
    fn known(failure: &Failure) -> Option<Self> {
        (failure.reason? == ErrorReason::ImageExists).then_some(())?;
        let name = fact(failure, OBJECT)?;
        Some(Self::AlreadyExists { name })
    }
}

impl FromServer for PruneError {
    fn known(_: &Failure) -> Option<Self> {
        None
    }
}

impl FromServer for ImportKernelError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<KernelName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::KernelExists => Some(Self::AlreadyExists { name: name()? }),
            ErrorReason::KernelBusy => Some(Self::Busy { name: name()? }),
            _ => None,
        }
    }
}

impl FromServer for PullKernelError {
    fn known(failure: &Failure) -> Option<Self> {
        if failure.reason? == ErrorReason::NotInCatalog {
            let name = fact(failure, OBJECT)?;
            return Some(Self::NotInCatalog { name });
        }
        let import = || ImportKernelError::known(failure).map(Self::Import);
        let replace = || DeleteKernelError::known(failure).map(Self::Replace);
        import().or_else(replace)
    }
}

impl FromServer for DeleteKernelError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<KernelName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::KernelNotFound => Some(Self::NotFound { name: name()? }),
            ErrorReason::KernelInUse => {
                let images = failure.facts.get("images")?.split(',').map(str::parse);
                Some(Self::InUse {
                    images: images.collect::<Result<_, _>>().ok()?,
                    name: name()?,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use banger_core::{ErrorKind, error::in_words};

    use super::*;

    fn failure(reason: ErrorReason, message: &str, facts: &[(&str, &str)]) -> Failure {
        let facts = facts.iter();
        Failure {
            kind: crate::kind_of_reason(reason),
            reason: Some(reason),
            message: message.to_owned(),
            facts: facts
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<HashMap<_, _>>(),
            retry_after: None,
        }
    }

    #[test]
    fn the_cores_own_error_comes_back_where_the_facts_suffice() {
        let facts = [("object", "v"), ("state", "running")];
        let said = failure(ErrorReason::VmWrongState, "m", &facts);
        let error = DeleteVmError::from_server(said);
        assert!(matches!(
            &error,
            DeleteVmError::Running { name, state: VmState::Running } if name.as_str() == "v"
        ));
        // without them it is what the server said
        let said = failure(ErrorReason::VmWrongState, "m", &[("object", "v")]);
        let error = DeleteVmError::from_server(said);
        let DeleteVmError::Remote(remote) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(remote.reason(), Some("VM_WRONG_STATE"));
    }

    #[test]
    fn words_and_causes_are_told_apart() {
        for (message, lengths, own, causes) in [
            ("a: b: c", "1,4", "a", vec!["b: c"]),
            ("a: b: c", "4,1", "a: b", vec!["c"]),
            ("a: b: c", "", "a: b: c", vec![]),
            // cut, or made up
            ("a: b", "1,900", "a", vec!["b"]),
            ("é: b", "1,1", "é: b", vec![]),
            ("abc", "2,4", "ab", vec!["c"]),
        ] {
            let said = failure(ErrorReason::Internal, message, &[("words", lengths)]);
            let (text, rest) = words(&said);
            assert_eq!(
                (text.as_str(), rest),
                (own, causes.iter().map(|one| (*one).to_owned()).collect()),
                "{message:?} {lengths}"
            );
        }
    }

    #[test]
    fn a_boot_failure_has_its_cause_and_its_console() {
        let facts = [
            ("object", "v"),
            ("failure", "no_init"),
            ("stage", "init"),
            ("console", "last words"),
        ];
        let words = "VM v failed to boot at stage init: there is none";
        let error = StartVmError::from_server(failure(ErrorReason::VmBootFailed, words, &facts));
        assert_eq!(in_words(&error), words);
        let StartVmError::BootFailed {
            failure,
            cause,
            console_tail,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(
            (failure, cause.as_str()),
            (BootFailure::NoInit, "there is none")
        );
        assert_eq!(console_tail, "last words");
    }
}
