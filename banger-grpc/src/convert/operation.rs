//! Operations and their events, to and from how they are remembered.

use banger_api::v1::{self, operation::Outcome, operation_event::Event};
use banger_core::domain::{Operation, OperationEvent, OperationState};
use prost::Message as _;

use super::timestamp;
use crate::request::name::OPERATIONS;

/// What came of an operation, as it is remembered.
pub(crate) fn encode_outcome(outcome: Option<Outcome>, phases: Vec<v1::Phase>) -> Vec<u8> {
    let partial = v1::Operation {
        outcome,
        phases,
        ..v1::Operation::default()
    };
    partial.encode_to_vec()
}

/// The operation as a client sees it.
pub(crate) fn operation(operation: &Operation) -> v1::Operation {
    let outcome = operation.outcome.as_deref().unwrap_or_default();
    // what another version wrote in another way is told as far as it is understood
    let remembered = v1::Operation::decode(outcome).unwrap_or_default();
    v1::Operation {
        name: OPERATIONS.name(operation.id),
        kind: kind_of_name(&operation.kind).into(),
        target: operation.target.clone(),
        request_id: operation.request_id.clone(),
        state: state(operation.state).into(),
        cancel_requested: operation.cancel_requested,
        attempts: operation.attempts,
        create_time: timestamp(operation.created),
        end_time: operation.ended.and_then(timestamp),
        last_sequence: operation.last_sequence,
        outcome: remembered.outcome,
        phases: remembered.phases,
    }
}

/// An event that was remembered.
pub(crate) fn event(event: &OperationEvent) -> v1::OperationEvent {
    let remembered = v1::OperationEvent::decode(event.event.as_slice()).unwrap_or_default();
    v1::OperationEvent {
        sequence: event.sequence,
        time: timestamp(event.time),
        event: remembered.event,
    }
}

/// An event as it is remembered.
pub(crate) fn encode_event(event: Event) -> Vec<u8> {
    let partial = v1::OperationEvent {
        event: Some(event),
        ..v1::OperationEvent::default()
    };
    partial.encode_to_vec()
}

/// The last event of an operation that is over.
pub(crate) fn ended(record: &Operation) -> v1::OperationEvent {
    v1::OperationEvent {
        sequence: record.last_sequence,
        time: record.ended.and_then(timestamp),
        event: Some(Event::Ended(operation(record))),
    }
}

/// What a kind is called where operations are remembered.
pub(crate) fn kind_name(kind: v1::OperationKind) -> String {
    let name = kind.as_str_name();
    let name = name.strip_prefix(KIND).unwrap_or(name);
    name.to_lowercase()
}

/// The kind that is called so.
pub(crate) fn kind_of_name(name: &str) -> v1::OperationKind {
    let name = format!("{KIND}{}", name.to_uppercase());
    v1::OperationKind::from_str_name(&name).unwrap_or_default()
}

const KIND: &str = "OPERATION_KIND_";

const fn state(state: OperationState) -> v1::OperationState {
    match state {
        OperationState::Running => v1::OperationState::Running,
        OperationState::Succeeded => v1::OperationState::Succeeded,
        OperationState::Failed => v1::OperationState::Failed,
        OperationState::Cancelled => v1::OperationState::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_that_lead_back() {
        for number in 1..100 {
            if let Ok(kind) = v1::OperationKind::try_from(number) {
                assert_eq!(kind_of_name(&kind_name(kind)), kind);
            }
        }
        assert_eq!(kind_name(v1::OperationKind::PullImage), "pull_image");
        assert_eq!(kind_of_name("newer"), v1::OperationKind::Unspecified);
    }
}
