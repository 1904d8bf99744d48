//! How a failure is shown: a line for people, an object for programs.

use std::{error::Error, fmt::Write as _};

use banger_core::vm::StartVmError;
use serde::Serialize;

use super::{CliError, hint};

/// A failure, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// What sort of failure a boot had.
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_tail: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a Report,
}

impl Report {
    /// What is to be said about a failure.
    #[must_use]
    pub fn of(error: &CliError) -> Self {
        let message = one_line(&error.to_string());
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(one_line(&cause.to_string()));
            source = cause.source();
        }
        causes.dedup();
        causes.retain(|cause| *cause != message);
        Self {
            kind: error.kind().as_str(),
            message,
            causes,
            hint: hint::of(error).map(|hint| one_line(&hint)),
            boot_failure: boot_failure(error),
            console_tail: console_tail(error),
        }
    }

    /// One line, then what helps, each line ended.
    #[must_use]
    pub fn human(&self) -> String {
        let mut text = format!("banger: {}", self.message);
        for cause in &self.causes {
            let _ = write!(text, ": {cause}");
        }
        text.push('\n');
        for line in self.console_tail.iter().flat_map(|tail| tail.lines()) {
            let _ = writeln!(text, "console: {}", one_line(line));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }

    /// One JSON object on one line, ended.
    #[must_use]
    pub fn json(&self) -> String {
        let object = serde_json::to_string(&Envelope { error: self });
        let mut text = object.unwrap_or_else(|_| "{\"error\":{}}".to_owned());
        text.push('\n');
        text
    }
}

fn start_error(error: &CliError) -> Option<&StartVmError> {
    match error {
        CliError::StartVm(error) => Some(error),
        _ => None,
    }
}

fn boot_failure(error: &CliError) -> Option<&'static str> {
    match start_error(error)? {
        StartVmError::BootFailed { failure, .. } => Some(failure.as_str()),
        _ => None,
    }
}

fn console_tail(error: &CliError) -> Option<String> {
    match start_error(error)? {
        StartVmError::BootFailed { console_tail, .. } => Some(console_tail.clone()),
        _ => None,
    }
    .filter(|tail| !tail.trim().is_empty())
}

/// Text that came from anywhere, safe for a terminal and without line breaks.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    let text: String = text.chars().map(visible).collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use banger_core::{
        domain::{ImageName, KernelName, Selector, VmName, VmState},
        image::{DeleteImageError, ImageQueryError, PullError},
        kernel::ResolveKernelError,
        oci::SourceError,
        vm::{BootFailure, CreateVmError, ExecError},
        vmm::BackendError,
    };

    use super::*;

    fn human(error: impl Into<CliError>) -> String {
        Report::of(&error.into()).human()
    }

    fn name(text: &str) -> ImageName {
        text.parse().unwrap()
    }

    fn vm(text: &str) -> VmName {
        text.parse().unwrap()
    }

    fn missing_kernel() -> PullError {
        let kernel: KernelName = "k".parse().unwrap();
        PullError::Kernel {
            name: name("debian"),
            source: ResolveKernelError::NotFound { name: kernel },
        }
    }

    #[test]
    fn a_failure_is_one_line_with_its_causes_and_a_hint() {
        assert_eq!(
            human(missing_kernel()),
            "banger: image debian cannot be pulled without a usable kernel: kernel k does not exist\n\
             hint: `banger kernel list` shows the imported kernels, `banger kernel list --available` those that can be pulled; import one: \
             `banger kernel import apt:linux-image-cloud-amd64`\n"
        );
        let unavailable = SourceError::Unavailable {
            reference: "h/x:1".into(),
            reason: "no route\nto\u{1b}[31m host".into(),
        };
        assert_eq!(
            human(PullError::Source {
                name: name("x"),
                source: unavailable
            }),
            "banger: failed to pull image x: failed to read h/x:1: no route to [31m host\n"
        );
    }

    #[test]
    fn json_errors_are_one_object_on_one_line() {
        assert_eq!(
            Report::of(&missing_kernel().into()).json(),
            "{\"error\":{\"kind\":\"not_found\",\
             \"message\":\"image debian cannot be pulled without a usable kernel\",\
             \"causes\":[\"kernel k does not exist\"],\
             \"hint\":\"`banger kernel list` shows the imported kernels, `banger kernel list --available` those that can be pulled; import one: \
             `banger kernel import apt:linux-image-cloud-amd64`\"}}\n"
        );
        assert_eq!(
            Report::of(&CliError::SessionLost).json(),
            "{\"error\":{\"kind\":\"internal\",\"message\":\"the command's session ended without an \
             exit status\",\"causes\":[],\"hint\":null}}\n"
        );
    }

    #[test]
    fn hints_name_the_objects() {
        let selector = Selector::from("x");
        let no_backend = BackendError::NoBackend {
            reason: "no qemu".into(),
        };
        let cases = [
            (
                human(ImageQueryError::NotFound { selector }),
                "`banger image list`",
            ),
            (
                human(CreateVmError::Backend(no_backend)),
                "install QEMU (Debian and Ubuntu: qemu-system-",
            ),
            (
                human(DeleteImageError::InUse {
                    name: name("i"),
                    vms: vec![vm("a"), vm("b")],
                    snapshots: Vec::new(),
                }),
                "`banger vm delete a b`",
            ),
            (
                human(ExecError::NotRunning {
                    name: vm("v"),
                    state: VmState::Stopped,
                }),
                "`banger vm start v`",
            ),
        ];
        for (text, expected) in cases {
            let hint = text.lines().find_map(|line| line.strip_prefix("hint: "));
            assert!(hint.is_some_and(|hint| hint.contains(expected)), "{text}");
        }
    }

    #[test]
    fn a_failed_boot_shows_the_console() {
        let error = CliError::from(StartVmError::BootFailed {
            name: vm("v"),
            failure: BootFailure::NoAnswer,
            stage: "kernel".into(),
            cause: "no answer".into(),
            console_tail: "one\r\ntwo\u{7}\n".into(),
        });
        assert_eq!(
            Report::of(&error).human(),
            "banger: VM v failed to boot at stage kernel: no answer\nconsole: one\nconsole: two\n\
             hint: `banger vm logs v` shows its console, if the VM was kept\n"
        );
        assert!(
            Report::of(&error)
                .json()
                .contains("\"boot_failure\":\"no_answer\",\"console_tail\":\"one\\r\\ntwo")
        );
    }
}
