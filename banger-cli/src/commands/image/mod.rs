//! `banger image …`.

mod bundle;
mod content;
mod delete;
mod list;
mod load;
mod pull;
mod register;
mod show;

pub(super) use bundle::bundle;
pub(super) use content::{cat, diff, ls};
pub(super) use delete::delete;
pub(super) use list::list;
pub(super) use load::{load, load_named};
pub(super) use pull::{choose_kernel, pull};
pub(super) use register::register;
pub(super) use show::show;
