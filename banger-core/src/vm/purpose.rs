//! What a machine is for: commands from outside, or one of its own. Pure.

use serde::{Deserialize, Serialize};

use super::{ExecError, ExecRequest, PrepareBootError, exec_command::exec_start, stop_signal};
use crate::domain::{BootMode, RunConfig, VmProcess, VmSpec};

/// What a machine is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purpose {
    /// The command that it exists for.
    pub(super) command: Option<MachineCommand>,
    /// What is said of the VM while it is up.
    pub(super) reason: String,
}

/// A command that a machine exists for, with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineCommand {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) working_directory: String,
    pub(super) user: String,
    /// Number of the signal that asks it to stop.
    pub(super) stop_signal: u32,
}

impl Purpose {
    /// What a VM is for whose image says `image`.
    pub(super) fn of(spec: &VmSpec, image: &RunConfig) -> Result<Self, PrepareBootError> {
        let (command, reason) = match spec.boot_mode {
            BootMode::Agent => (None, "its agent answers"),
            BootMode::Init => (None, "its agent answers beside its own init"),
            BootMode::Native => (None, "its VMM runs"),
            BootMode::Entrypoint => match command(&spec.process, image)? {
                Some(command) => (Some(command), "its command runs"),
                None => (
                    None,
                    "its agent answers; no command was given and its image names none",
                ),
            },
        };
        Ok(Self {
            command,
            reason: reason.to_owned(),
        })
    }
}

fn command(
    process: &VmProcess,
    image: &RunConfig,
) -> Result<Option<MachineCommand>, PrepareBootError> {
    let request = ExecRequest {
        argv: process.argv.clone(),
        env: process.env.clone(),
        working_directory: process.working_directory.clone(),
        user: process.user.clone(),
        ..ExecRequest::default()
    };
    let start = match exec_start(image, &request) {
        Err(ExecError::NoCommand) => return Ok(None),
        start => start.map_err(|error| PrepareBootError::Command(Box::new(error)))?,
    };
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(MachineCommand {
        argv: start.argv.iter().map(text).collect(),
        env: start.env.iter().map(text).collect(),
        working_directory: text(&start.working_directory),
        user: start.user,
        stop_signal: stop_signal::number(&image.stop_signal),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(boot_mode: BootMode, argv: &[&str]) -> VmSpec {
        VmSpec {
            boot_mode,
            process: VmProcess {
                argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
                user: Some("app".to_owned()),
                ..VmProcess::default()
            },
            ..VmSpec::default()
        }
    }

    #[test]
    fn an_image_without_a_command_waits_for_others() {
        let image = RunConfig::default();
        let idle = Purpose::of(&spec(BootMode::Entrypoint, &[]), &image).unwrap();
        assert_eq!(idle.command, None);
        assert!(idle.reason.contains("its image names none"));
        let given = Purpose::of(&spec(BootMode::Entrypoint, &["/x"]), &image).unwrap();
        assert_eq!(given.command.unwrap().argv, ["/x"]);
        let agent = Purpose::of(&spec(BootMode::Agent, &["/x"]), &image).unwrap();
        assert_eq!(agent.command, None);
    }

    #[test]
    fn the_image_answers_what_is_left_open() {
        let image = RunConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["one".to_owned()],
            working_directory: "/srv".to_owned(),
            user: "other".to_owned(),
            stop_signal: "SIGQUIT".to_owned(),
            ..RunConfig::default()
        };
        let purpose = Purpose::of(&spec(BootMode::Entrypoint, &[]), &image).unwrap();
        let command = purpose.command.unwrap();
        assert_eq!(command.argv, ["/entry", "one"]);
        assert_eq!(
            (command.working_directory.as_str(), command.user.as_str()),
            ("/srv", "app")
        );
        assert_eq!(command.stop_signal, 3);
        assert_eq!(purpose.reason, "its command runs");
    }
}
