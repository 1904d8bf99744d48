//! The init and agent that banger boots inside a virtual machine.
//!
//! Purpose: bring a Linux machine from the kernel's first process to an image's
//! root file system, then run processes in it for the host. Invariants: the
//! program is static and asks nothing of the image (no shell, no C library, no
//! `/etc`); it reads only its boot configuration and the channel; process 1
//! holds no runtime and no thread, so it can reap every orphan. The kernel must
//! be Linux 5.4 or newer (process descriptors, overlayfs with `xino`).
//! Entry points: [`init::run`] (the whole program), [`agent::serve`] (the agent
//! on any byte stream).

pub mod agent;
mod console;
mod descriptor;
mod files;
pub mod init;
mod sys;
