//! Protocol types generated from the `.proto` files of this folder, and the
//! little of the kernel's own that guest and host both speak.
//!
//! Purpose: one place for the Rust side of every protocol banger speaks.
//! Invariants: `src/generated/` is exactly what the generator makes of the
//! `.proto` files (the test `generated` compares); nothing in it is edited.
//! Entry points: [`guest`] (host and guest), [`monitor`] (client and monitor),
//! [`rtnetlink`] (either and its kernel).

pub mod rtnetlink;

/// Highest generation of the guest protocol that this build speaks.
///
/// Both sides state theirs and the lower one wins. Generation 2 runs processes
/// as sessions that outlive their clients.
pub const GUEST_GENERATION: u32 = 2;

/// Lowest generation that a host of this build works with.
pub const OLDEST_GUEST_GENERATION: u32 = 2;

/// Metadata key of a failed `CreateExec` that names its `SpawnFailure` by number.
pub const SPAWN_FAILURE_METADATA: &str = "banger-spawn-failure";

/// Metadata key of a failed file call that names its `FileFailure` by number.
pub const FILE_FAILURE_METADATA: &str = "banger-file-failure";

/// Metadata key of a failed connection that names its `ConnectFailure` by number.
pub const CONNECT_FAILURE_METADATA: &str = "banger-connect-failure";

/// Most bytes in one message of a tree or a connection.
pub const MAX_STREAM_CHUNK: usize = 65_536;

/// Most bytes of standard input or output in one exec message.
pub const MAX_EXEC_CHUNK: usize = 65_536;

/// Between the host's monitor and the agent in the guest.
pub mod guest {
    /// Generation 1.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::use_self,
        reason = "generated code"
    )]
    pub mod v1 {
        include!("generated/banger.guest.v1.rs");
    }
}

/// Between banger's clients and the monitor of a VM.
pub mod monitor {
    /// Generation 1.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::use_self,
        reason = "generated code"
    )]
    pub mod v1 {
        include!("generated/banger.monitor.v1.rs");
    }
}
