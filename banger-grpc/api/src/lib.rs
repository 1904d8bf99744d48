//! banger's gRPC API, generated from `proto/banger/v1`, and what both of its
//! ends must agree on.
//!
//! Purpose: messages, clients and servers for Rust, the descriptors for
//! reflection, and what each reason of an error means. Invariants:
//! `src/generated/` is exactly what the generator makes of the `.proto` files
//! (the test `generated` compares); nothing in it is edited.
//! Entry points: [`v1`], [`DESCRIPTORS`], [`reason`].

#[cfg(feature = "core")]
pub mod choices;
pub mod reason;

/// The API's one version.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    clippy::large_enum_variant,
    reason = "generated code"
)]
pub mod v1 {
    include!("generated/banger.v1.rs");
}

/// The API's `.proto` files and those they import, as an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/banger.v1.descriptors.bin");

/// The domain of every `google.rpc.ErrorInfo` that banger sends.
pub const ERROR_DOMAIN: &str = "banger";

/// Most bytes of an error's message: it travels in a header, and headers that are
/// too long break a stream.
pub const MAX_ERROR_MESSAGE: usize = 1024;
