//! The machine's console.
//!
//! Purpose: the one place that prints. Invariants: a message is one line in one
//! write, so that it never mixes with the kernel's. Standard error is the
//! console: the kernel or the first init stage made it so.
//! Entry point: [`line`].

/// Prints `banger-guest: <message>`. A console that takes nothing is no error.
pub(crate) fn line(message: impl std::fmt::Display) {
    let text = format!("banger-guest: {message}").replace(['\n', '\r'], " ");
    let line = format!("{text}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
