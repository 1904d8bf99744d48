//! The column with what a VM runs by itself, and those with how that ended.

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    row::{from_json, parse, to_json},
};
use crate::domain::{CommandEnd, VmProcess};

/// The kinds of exit of a command.
pub(super) const CODE: &str = "command-code";
pub(super) const SIGNAL: &str = "command-signal";

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ProcessColumn {
    argv: Vec<String>,
    env: Vec<String>,
    working_directory: Option<String>,
    user: Option<String>,
}

pub(super) fn to_column(object: &str, process: &VmProcess) -> Result<String, StoreError> {
    let column = ProcessColumn {
        argv: process.argv.clone(),
        env: process.env.clone(),
        working_directory: process.working_directory.clone(),
        user: process.user.clone(),
    };
    to_json(object, &column)
}

pub(super) fn from_column(object: &str, text: &str) -> Result<VmProcess, StoreError> {
    let column: ProcessColumn = from_json(object, text)?;
    Ok(VmProcess {
        argv: column.argv,
        env: column.env,
        working_directory: column.working_directory,
        user: column.user,
    })
}

/// Kind and detail of a command's end.
pub(super) fn exit_columns(end: CommandEnd) -> (Option<&'static str>, Option<String>) {
    match end {
        CommandEnd::Code(code) => (Some(CODE), Some(code.to_string())),
        CommandEnd::Signal(signal) => (Some(SIGNAL), Some(signal.to_string())),
    }
}

/// The end that these columns tell.
pub(super) fn end(
    object: &str,
    kind: Option<&str>,
    detail: Option<&str>,
) -> Result<CommandEnd, StoreError> {
    let number = parse(object, detail.unwrap_or_default())?;
    Ok(if kind == Some(SIGNAL) {
        CommandEnd::Signal(number)
    } else {
        CommandEnd::Code(number)
    })
}
