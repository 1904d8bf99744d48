//! `banger kernel …`.

mod bundle;
mod delete;
mod import;
mod list;
mod pull;
mod show;

pub(super) use bundle::bundle;
pub(super) use delete::delete;
pub(super) use import::import;
pub(super) use list::list;
pub(super) use pull::pull;
pub(super) use show::show;
