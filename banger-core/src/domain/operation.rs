//! Work that a service does for its clients, as it is remembered.

use std::time::SystemTime;

use super::OperationId;

/// A piece of work that a request began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Id, never reused; later ones sort after earlier ones.
    pub id: OperationId,
    /// What sort of work it is, in the service's words.
    pub kind: String,
    /// The name of what it is about.
    pub target: String,
    /// The id of the first request that it is the answer to.
    pub request_id: String,
    /// What was asked for, as the service wrote it.
    pub request: Vec<u8>,
    /// How it stands.
    pub state: OperationState,
    /// Whether it is to be given up.
    pub cancel_requested: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// The number of its newest event.
    pub last_sequence: u64,
    /// The id of the record that it made: of a VM from the moment on in which that is
    /// whole.
    pub made: Option<String>,
    /// What came of it, as the service wrote it.
    pub outcome: Option<Vec<u8>>,
    /// When it was recorded.
    pub created: SystemTime,
    /// When it ended.
    pub ended: Option<SystemTime>,
}

/// How a piece of work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationState {
    /// It is not over.
    Running,
    /// It did what was asked.
    Succeeded,
    /// It did not.
    Failed,
    /// It was given up because somebody asked for that.
    Cancelled,
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 4] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state's name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// A request for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRequest {
    /// Whose request it is: ids of requests are each caller's own.
    pub caller: String,
    /// The id that the caller gave it.
    pub request_id: String,
    /// What tells it from another request under the same id.
    pub digest: String,
    /// Whether it may share an operation that runs for the same request of
    /// somebody else.
    pub shareable: bool,
    /// What sort of work, in the service's words.
    pub kind: String,
    /// The name of what it is about.
    pub target: String,
    /// What is asked for, as the service wrote it.
    pub request: Vec<u8>,
    /// When it came.
    pub time: SystemTime,
}

/// What a request for work led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BegunOperation {
    /// An operation that is new, and the caller's to carry out.
    New(Operation),
    /// One that somebody carries out or did: the request came before, or was
    /// somebody else's as well.
    Known(Operation),
    /// Nothing: another request had the id.
    IdReused,
}

/// Something that happened to a piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationEvent {
    /// Its number, from 1 on.
    pub sequence: u64,
    /// When it happened.
    pub time: SystemTime,
    /// What, as the service wrote it.
    pub event: Vec<u8>,
}
