//! Kinds to reasons and codes, and what an answer holds.

use std::collections::BTreeSet;

use banger_core::vm::{StartVmError, VmQueryError};
use tonic::Code;

use super::*;

#[test]
fn every_kind_has_a_reason_of_its_own_and_a_code_that_says_something() {
    let mut reasons = BTreeSet::new();
    for kind in ErrorKind::ALL {
        let reason = reason_of_kind(kind);
        assert!(reasons.insert(reason as i32), "{kind:?} shares {reason:?}");
        assert_ne!(reason, ErrorReason::Unspecified);
    }
    for reason in reason::all() {
        let code = reason::code(reason);
        assert!(!matches!(code, Code::Ok | Code::Unknown), "{reason:?}");
        if code == Code::Internal {
            assert_eq!(reason, ErrorReason::Internal);
        }
    }
}

#[test]
fn an_answer_says_why_in_a_form_for_programs() {
    let error = VmQueryError::NotFound {
        selector: "web".into(),
    };
    let status = Status::from(Fault::from(error));
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "VM web does not exist");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("VM_NOT_FOUND", "banger")
    );
    let resource = details.resource_info().unwrap();
    assert_eq!(resource.resource_type, "banger.v1.Vm");
    assert_eq!(resource.resource_name, "web");
    assert_eq!(info.metadata.get("object").map(String::as_str), Some("web"));
    assert_eq!(info.metadata.get("words"), None);
}

#[test]
fn an_error_and_its_causes_can_be_told_apart() {
    let source = std::io::Error::other("why");
    let error = StartVmError::Port {
        name: "web".parse().unwrap(),
        port: "8080:80".parse().unwrap(),
        source,
    };
    let own = error.to_string();
    let fault = Fault::from(error);
    assert_eq!(fault.message(), format!("{own}: why"));
    let lengths = format!("{},3", own.len());
    assert_eq!(fault.facts().get("words"), Some(&lengths));
    let long = Fault::new(ErrorReason::Internal, "m").tail("console", &"ü".repeat(2000));
    let tail = &fault_fact(&long, "console");
    assert_eq!(tail.len(), MAX_TAIL);
}

fn fault_fact(fault: &Fault, key: &str) -> String {
    fault.facts().get(key).cloned().unwrap_or_default()
}

#[test]
fn a_wrong_state_is_a_precondition_that_names_the_state() {
    let error = StartVmError::WrongState {
        name: "web".parse().unwrap(),
        state: banger_core::domain::VmState::Paused,
    };
    let status = Status::from(Fault::from(error));
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "VM_WRONG_STATE");
    assert_eq!(
        info.metadata.get("state").map(String::as_str),
        Some("paused")
    );
    let violations = &details.precondition_failure().unwrap().violations;
    assert_eq!(violations[0].subject, "banger.v1.Vm/web");
}

#[test]
fn every_wrong_field_is_named() {
    let violation = |field: &str| Violation {
        field: field.to_owned(),
        problem: "is wrong".to_owned(),
    };
    let fault = Fault::invalid(vec![violation("a"), violation("b")]);
    let status = Status::from(fault);
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields = &details.bad_request().unwrap().field_violations;
    let fields: Vec<&str> = fields.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["a", "b"]);
}

#[test]
fn whoever_is_to_try_again_is_told_when() {
    for (fault, reason) in [
        (Fault::starting(), "SERVER_STARTING"),
        (Fault::draining(), "SERVER_DRAINING"),
    ] {
        let status = Status::from(fault);
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, reason);
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(SOON));
    }
}

#[test]
fn what_a_peer_made_long_stays_within_the_limits_of_a_header() {
    for text in ["x".repeat(1 << 16), "ü€𝄞".repeat(1 << 12)] {
        let violations = vec![
            Violation {
                field: text.clone(),
                problem: text.clone(),
            };
            100
        ];
        let fault = Fault::invalid(violations)
            .about("kind", &text)
            .fact("a", &text);
        let status = Status::from(fault);
        assert!(status.message().len() <= MAX_ERROR_MESSAGE);
        assert!(status.message().ends_with('…'));
        assert!(
            status.details().len() < 12_000,
            "{}",
            status.details().len()
        );
    }
    assert_eq!(capped("short".to_owned(), 5), "short");
    assert_eq!(capped("longer".to_owned(), 5), "lo…");
}
