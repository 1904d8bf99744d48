//! The programs that run virtual machines, behind one seam.
//!
//! Purpose: turn a machine description into a running VMM process with a
//! console and a channel. Invariants: a backend is chosen by looking, and the
//! choice says why; a VMM dies with the monitor that started it.
//! Entry points: [`choose_backend`], [`BackendError`].

mod error;

pub use error::BackendError;
