//! What the reasons of errors are called, and which gRPC code each comes with.
//!
//! Invariants: the match has no wildcard arm, so that a new reason cannot get a
//! code by accident. Entry points: [`code`], [`name`], [`of_name`].

use tonic::Code;

use crate::v1::ErrorReason;

/// What the names of the proto's values begin with.
const PREFIX: &str = "ERROR_REASON_";

/// The gRPC code that a reason always comes with.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table with a line for each reason")]
pub const fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::Unspecified | ErrorReason::Internal => Code::Internal,
        ErrorReason::ObjectNotFound
        | ErrorReason::VmNotFound
        | ErrorReason::ImageNotFound
        | ErrorReason::KernelNotFound
        | ErrorReason::OperationNotFound
        | ErrorReason::ExecNotFound
        | ErrorReason::SessionNotFound
        | ErrorReason::SnapshotNotFound
        | ErrorReason::ExecProgramNotFound
        | ErrorReason::FileNotFound
        | ErrorReason::VolumeNotFound
        | ErrorReason::UploadNotFound
        | ErrorReason::NotInCatalog => Code::NotFound,
        ErrorReason::ObjectExists
        | ErrorReason::VmExists
        | ErrorReason::RequestIdReused
        | ErrorReason::ImageExists
        | ErrorReason::VolumeExists
        | ErrorReason::KernelExists => Code::AlreadyExists,
        ErrorReason::InvalidRequest
        | ErrorReason::ExecBadWorkingDirectory
        | ErrorReason::ExecUnknownUser => Code::InvalidArgument,
        ErrorReason::ExecBeyondOutput | ErrorReason::WatchExpired => Code::OutOfRange,
        ErrorReason::PeerUnauthenticated
        | ErrorReason::WrongState
        | ErrorReason::VmWrongState
        | ErrorReason::VmLeaseOver
        | ErrorReason::SessionOver
        | ErrorReason::HostNoBackend
        | ErrorReason::HostPortTaken
        | ErrorReason::ImageInUse
        | ErrorReason::ExecNotExecutable
        | ErrorReason::FileWrongKind
        | ErrorReason::VolumeInUse
        | ErrorReason::PortRefused
        | ErrorReason::KernelInUse => Code::FailedPrecondition,
        ErrorReason::Forbidden
        | ErrorReason::PolicyRefused
        | ErrorReason::OutOfScope
        | ErrorReason::FileForbidden => Code::PermissionDenied,
        ErrorReason::CallerUnauthenticated => Code::Unauthenticated,
        ErrorReason::VmBusy
        | ErrorReason::VmBootFailed
        | ErrorReason::MonitorFailed
        | ErrorReason::VmChanged
        | ErrorReason::OperationInterrupted
        | ErrorReason::ExecTakenOver
        | ErrorReason::VmLost
        | ErrorReason::AgentFailed
        | ErrorReason::PortBroken
        | ErrorReason::UploadTakenOver
        | ErrorReason::KernelBusy => Code::Aborted,
        ErrorReason::PeerUnavailable
        | ErrorReason::ServerStarting
        | ErrorReason::ServerDraining => Code::Unavailable,
        ErrorReason::HostExhausted
        | ErrorReason::HostFull
        | ErrorReason::QuotaExceeded
        | ErrorReason::GuestDiskFull
        | ErrorReason::TooManyCalls => Code::ResourceExhausted,
        ErrorReason::CorruptData => Code::DataLoss,
        ErrorReason::WorkTimedOut => Code::DeadlineExceeded,
        ErrorReason::Capability => Code::Unimplemented,
        ErrorReason::Cancelled => Code::Cancelled,
    }
}

/// What a `google.rpc.ErrorInfo` calls the reason.
#[must_use]
pub fn name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// The reason that a `google.rpc.ErrorInfo` names, if this build knows it.
#[must_use]
pub fn of_name(name: &str) -> Option<ErrorReason> {
    ErrorReason::from_str_name(&format!("{PREFIX}{name}"))
}

/// Every reason that is ever sent.
pub fn all() -> impl Iterator<Item = ErrorReason> {
    let numbers = 1..=i32::from(u8::MAX);
    numbers.filter_map(|number| ErrorReason::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::DESCRIPTORS;

    #[test]
    fn every_reason_has_a_name_that_leads_back() {
        for reason in all() {
            assert!(!name(reason).contains(PREFIX));
            assert_eq!(of_name(name(reason)), Some(reason));
        }
        assert_eq!(of_name("SOMETHING_NEWER"), None);
        assert_eq!(of_name("ERROR_REASON_INTERNAL"), None);
    }

    #[test]
    fn none_of_the_proto_is_missed() {
        let descriptors = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let enums = descriptors.file.iter().flat_map(|file| &file.enum_type);
        let reasons = enums.filter(|one| one.name() == "ErrorReason");
        let values: Vec<_> = reasons.flat_map(|one| &one.value).collect();
        assert_eq!(values.len(), all().count() + 1);
    }

    /// The first word of each comment is the code that the reason comes with.
    #[test]
    fn the_protos_comments_say_the_same_codes() {
        let proto = include_str!("../../../proto/banger/v1/errors.proto");
        let mut codes = BTreeMap::new();
        let mut comment = String::new();
        for line in proto.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("//") {
                comment.push_str(text);
            } else {
                let value = line.strip_prefix(PREFIX).unwrap_or_default();
                let (name, _) = value.split_once(" = ").unwrap_or_default();
                let (code, _) = comment.trim().split_once(':').unwrap_or_default();
                codes.insert(name.to_owned(), code.to_owned());
                comment.clear();
            }
        }
        for reason in all() {
            let said = codes.get(name(reason)).map(String::as_str);
            let spelled = format!("{:?}", code(reason));
            let expected = said.unwrap_or_default().replace('_', "");
            assert_eq!(spelled.to_uppercase(), expected, "{}", name(reason));
        }
    }
}
