//! The jail of a VMM when banger is root: the jailer's (Firecracker's
//! `docs/jailer.md`, 1.12), in a world that ends with it.
//!
//! ```text
//! monitor -- keeper                 first of a process namespace; sleeps
//!        '-- jailer -> VMM          in it; own user, own mounts, own root
//! ```
//!
//! Purpose: a VMM that a guest has taken over has a user that nobody else has,
//! no capability, and nothing in reach but its machine's own files. Invariants:
//! the jail's root is a small file system in memory that has a place in the
//! VMM's mount namespace alone, and so leaves nothing on the host, whatever
//! ends it; files of the host are mounted into it with the VMM's user in their
//! owner's place, so none of them changes owner or mode; changing its user
//! frees a process of dying with its parent, so it is the keeper that does, and
//! the kernel that ends the VMM with it; what the VMM may have put into its
//! root is never looked at through links.
//! Entry points: [`ChosenBackend::with_jail`], [`Jail`].
//!
//! [`ChosenBackend::with_jail`]: super::ChosenBackend::with_jail

mod choice;
mod ids;
mod mapping;
mod root;

pub use choice::{ChosenJail, JailFacts, JailMode, JailOptions};
pub use ids::{JailIds, JailIdsParseError};
pub(crate) use root::{Confinement, Jail, JailRequest, LOG, RunningJail, spawn_kept};
