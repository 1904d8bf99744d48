//! `banger image …`.

mod build;
mod bundle;
mod content;
mod delete;
mod list;
mod load;
mod promote;
mod prune;
mod pull;
mod register;
mod save;
mod show;

pub(super) use build::{build_containerfile, build_from_image};
pub(super) use bundle::bundle;
pub(super) use content::{cat, diff, ls};
pub(super) use delete::delete;
pub(super) use list::list;
pub(super) use load::{load, load_named};
pub(super) use promote::promote;
pub(super) use prune::prune;
pub(super) use pull::{choose_kernel, pull};
pub(super) use register::register;
pub(super) use save::save;
pub(super) use show::show;
