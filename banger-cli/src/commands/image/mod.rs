//! `banger image …`.

mod build;
mod content;
mod delete;
mod list;
mod pull;
mod register;
mod show;

pub(super) use build::{build_containerfile, build_from_image};
pub(super) use content::{cat, diff, ls};
pub(super) use delete::delete;
pub(super) use list::list;
pub(super) use pull::{choose_kernel, pull};
pub(super) use register::register;
pub(super) use show::show;
