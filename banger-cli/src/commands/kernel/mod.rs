//! `banger kernel …`.

mod delete;
mod import;
mod list;
mod show;

pub(super) use delete::delete;
pub(super) use import::import;
pub(super) use list::list;
pub(super) use show::show;
