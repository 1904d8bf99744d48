//! Whether a VMM is jailed.

use std::{fmt, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::geteuid;

use super::{
    super::{BackendError, ChosenBackend, facts::is_executable},
    ids::JailIds,
    mapping,
};
use crate::{domain::BackendKind, vm::in_words};

/// When Firecracker is jailed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JailMode {
    /// When banger is root and the host has what it takes.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always: no machine without.
    Always,
}

impl JailMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Never, Self::Always];

    /// The word that means it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Never => "never",
            Self::Always => "always",
        }
    }
}

impl fmt::Display for JailMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for JailMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is not one of auto, never and always"))
    }
}

/// How VMMs are jailed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JailOptions {
    /// When.
    pub mode: JailMode,
    /// Firecracker's `jailer`; none when the host has it not.
    pub program: Option<Utf8PathBuf>,
    /// The users they may run as.
    pub ids: JailIds,
}

/// A jail that a VMM is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenJail {
    /// The jailer.
    pub program: Utf8PathBuf,
    /// The users among which it gets one.
    pub ids: JailIds,
}

/// What matters of a host for a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailFacts {
    /// Why there can be none; none when there can.
    pub obstacle: Option<String>,
}

impl JailFacts {
    /// Looks at this host, and whether files in `directory` can be given to a
    /// jail; not at all where no jail is wanted.
    #[must_use]
    pub fn gather(options: &JailOptions, directory: &Utf8Path) -> Self {
        let obstacle = match options.mode {
            JailMode::Never => None,
            JailMode::Auto | JailMode::Always => obstacle(options, directory),
        };
        Self { obstacle }
    }
}

fn obstacle(options: &JailOptions, directory: &Utf8Path) -> Option<String> {
    if !geteuid().is_root() {
        return Some("banger does not run as root".to_owned());
    }
    let Some(program) = &options.program else {
        return Some("no jailer was found beside firecracker".to_owned());
    };
    if !is_executable(program) {
        return Some(format!("{program} is not an executable file"));
    }
    let tried = mapping::try_out(directory, options.ids.first());
    let error = tried.err()?;
    Some(format!(
        "files cannot be given to its user: {}",
        in_words(&error)
    ))
}

impl ChosenBackend {
    /// The same backend in a jail, or outside for a reason that its choice then
    /// tells. QEMU has none. Pure.
    pub fn with_jail(
        mut self,
        options: &JailOptions,
        facts: &JailFacts,
    ) -> Result<Self, BackendError> {
        if self.choice.kind != BackendKind::Firecracker {
            return Ok(self);
        }
        let outside = match (&facts.obstacle, options.mode) {
            (_, JailMode::Never) => "it was told to",
            (Some(obstacle), JailMode::Auto) => obstacle,
            (Some(obstacle), JailMode::Always) => {
                return Err(BackendError::NoJail {
                    reason: obstacle.clone(),
                });
            }
            (None, _) => {
                self.choice.reason.push_str(", and it runs in a jail");
                self.jail = options.program.clone().map(|program| ChosenJail {
                    program,
                    ids: options.ids,
                });
                return Ok(self);
            }
        };
        let told = format!(", and it runs without a jail, because {outside}");
        self.choice.reason.push_str(&told);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::BackendChoice, vmm::Acceleration};

    fn backend(kind: BackendKind) -> ChosenBackend {
        ChosenBackend {
            choice: BackendChoice {
                kind,
                reason: "KVM is usable".to_owned(),
            },
            program: "/opt/firecracker".into(),
            acceleration: Acceleration::Kvm,
            network_helper: None,
            jail: None,
        }
    }

    fn options(mode: JailMode) -> JailOptions {
        JailOptions {
            mode,
            program: Some("/opt/jailer".into()),
            ids: JailIds::default(),
        }
    }

    fn facts(obstacle: Option<&str>) -> JailFacts {
        JailFacts {
            obstacle: obstacle.map(str::to_owned),
        }
    }

    #[test]
    fn a_jail_is_had_where_it_can_be_unless_it_is_not_wanted() {
        let firecracker = || backend(BackendKind::Firecracker);
        for (mode, obstacle, jailed, word) in [
            (JailMode::Auto, None, true, "runs in a jail"),
            (JailMode::Always, None, true, "runs in a jail"),
            (JailMode::Never, None, false, "told to"),
            (JailMode::Auto, Some("no luck"), false, "no luck"),
            (JailMode::Never, Some("no luck"), false, "told to"),
        ] {
            let chosen = firecracker().with_jail(&options(mode), &facts(obstacle));
            let chosen = chosen.unwrap();
            assert_eq!(chosen.jail.is_some(), jailed, "{mode} {obstacle:?}");
            assert!(chosen.choice.reason.starts_with("KVM is usable, and"));
            assert!(chosen.choice.reason.contains(word), "{chosen:?}");
        }
        let refused = firecracker().with_jail(&options(JailMode::Always), &facts(Some("no luck")));
        let refused = refused.unwrap_err();
        assert!(matches!(refused, BackendError::NoJail { .. }));
        assert_eq!(refused.kind(), crate::ErrorKind::Unsupported);
        assert!(refused.to_string().contains("no luck"), "{refused}");
    }

    #[test]
    fn qemu_has_no_jail_and_says_nothing_of_it() {
        let qemu = backend(BackendKind::Qemu);
        let facts = facts(Some("no luck"));
        let chosen = qemu.clone().with_jail(&options(JailMode::Always), &facts);
        assert_eq!(chosen.unwrap(), qemu);
    }

    #[test]
    fn modes_are_read_and_written_alike() {
        for mode in JailMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("root".parse::<JailMode>().unwrap_err().contains("always"));
    }
}
