//! Errors of builds of images.

use std::time::Duration;

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::ImageName,
    image::{
        ImageQueryError,
        build::{BuildImageError, BuildMachineError},
    },
    vm::{CreateVmError, ExecError, StartVmError, StopVmError},
};
use camino::Utf8PathBuf;

use super::{FromServer, OBJECT, WORDS, fact, words};
use crate::Failure;

impl FromServer for BuildImageError {
    fn known(failure: &Failure) -> Option<Self> {
        if let Some(at) = failure.facts.get("build") {
            return in_machine(failure, at);
        }
        if failure.reason? == ErrorReason::ImageExists {
            let name = fact(failure, OBJECT)?;
            return Some(Self::AlreadyExists { name });
        }
        ImageQueryError::known(failure).map(Self::Base)
    }
}

/// What failed in the machine, or the machine itself.
fn in_machine(failure: &Failure, at: &str) -> Option<BuildImageError> {
    let name: ImageName = fact(failure, "image")?;
    let log: Utf8PathBuf = fact(failure, "log")?;
    let (text, causes) = words(failure);
    let text = text.strip_suffix(&format!("; its log is {log}"))?;
    match at {
        "step" => {
            let problem = failure.facts.get("problem")?.clone();
            let step = text.strip_prefix(&format!("image {name} failed to build at "))?;
            let step = step.strip_suffix(&format!(": {problem}"))?.to_owned();
            Some(BuildImageError::Step {
                name,
                step,
                problem,
                is_own: fact(failure, "is_own")?,
                log,
            })
        }
        "timed_out" => {
            let seconds = fact(failure, "deadline_seconds")?;
            let deadline = Duration::try_from_secs_f64(seconds).ok()?;
            let beginning = format!("image {name} was not built within {deadline:?}: it was at ");
            let step = text.strip_prefix(&beginning)?.to_owned();
            Some(BuildImageError::TimedOut {
                name,
                step,
                deadline,
                log,
            })
        }
        "machine" => {
            let beginning = format!("the machine that builds image {name} failed at ");
            let step = text.strip_prefix(&beginning)?.to_owned();
            let source = Box::new(machine(failure, &causes)?);
            Some(BuildImageError::Machine {
                name,
                step,
                source,
                log,
            })
        }
        _ => None,
    }
}

/// Why the machine failed: the causes of the failure are a failure of their own.
fn machine(failure: &Failure, causes: &[String]) -> Option<BuildMachineError> {
    let what = failure.facts.get("machine")?.as_str();
    let lengths: Vec<String> = causes.iter().map(|one| one.len().to_string()).collect();
    let mut cause = Failure {
        message: causes.join(": "),
        ..failure.clone()
    };
    cause.facts.insert(WORDS.to_owned(), lengths.join(","));
    Some(match what {
        "create" => CreateVmError::from_server(cause).into(),
        "start" => StartVmError::from_server(cause).into(),
        "exec" => ExecError::from_server(cause).into(),
        "stop" => StopVmError::from_server(cause).into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use banger_core::error::in_words;

    use super::*;

    fn failure(reason: ErrorReason, error: &BuildImageError, facts: &[(&str, &str)]) -> Failure {
        let own = error.to_string().len();
        let words = format!("{own},{}", in_words(error).len().saturating_sub(own + 2));
        let all = [
            ("image", "dev"),
            ("log", "/s/dev.log"),
            (WORDS, words.as_str()),
        ];
        let facts = all.iter().chain(facts);
        Failure {
            kind: error.kind(),
            reason: Some(reason),
            message: in_words(error),
            facts: facts
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<HashMap<_, _>>(),
            retry_after: None,
        }
    }

    #[test]
    fn failures_in_the_machine_come_back_as_they_were() {
        let name: ImageName = "dev".parse().unwrap();
        let log = Utf8PathBuf::from("/s/dev.log");
        let step = BuildImageError::Step {
            name: name.clone(),
            step: "command echo: why".to_owned(),
            problem: "exit status 7".to_owned(),
            is_own: true,
            log: log.clone(),
        };
        let late = BuildImageError::TimedOut {
            name: name.clone(),
            step: "command sleep".to_owned(),
            deadline: Duration::from_secs(20),
            log: log.clone(),
        };
        let machine = BuildImageError::Machine {
            name,
            step: "the start".to_owned(),
            source: Box::new(
                CreateVmError::AlreadyExists {
                    name: "build-1".parse().unwrap(),
                }
                .into(),
            ),
            log,
        };
        let facts = [
            ("build", "step"),
            ("problem", "exit status 7"),
            ("is_own", "true"),
        ];
        let said = failure(ErrorReason::Internal, &step, &facts);
        let back = BuildImageError::from_server(said);
        assert!(
            matches!(&back, BuildImageError::Step { is_own: true, .. }),
            "{back:?}"
        );
        assert_eq!(back.to_string(), step.to_string());

        let facts = [("build", "timed_out"), ("deadline_seconds", "20")];
        let back = BuildImageError::from_server(failure(ErrorReason::WorkTimedOut, &late, &facts));
        assert!(
            matches!(&back, BuildImageError::TimedOut { .. }),
            "{back:?}"
        );
        assert_eq!(back.to_string(), late.to_string());

        let facts = [
            ("build", "machine"),
            ("machine", "create"),
            (OBJECT, "build-1"),
        ];
        let back = BuildImageError::from_server(failure(ErrorReason::VmExists, &machine, &facts));
        let BuildImageError::Machine { source, .. } = &back else {
            panic!("{back:?}");
        };
        let BuildMachineError::Create(CreateVmError::AlreadyExists { .. }) = **source else {
            panic!("{back:?}");
        };
        assert_eq!(in_words(&back), in_words(&machine));
    }

    #[test]
    fn what_does_not_fit_is_what_the_server_said() {
        let step = BuildImageError::Step {
            name: "dev".parse().unwrap(),
            step: "a".to_owned(),
            problem: "b".to_owned(),
            is_own: false,
            log: "/s/dev.log".into(),
        };
        let facts = [("build", "step"), ("problem", "c"), ("is_own", "false")];
        let back = BuildImageError::from_server(failure(ErrorReason::Internal, &step, &facts));
        assert!(matches!(&back, BuildImageError::Remote(_)), "{back:?}");
        assert_eq!(back.to_string(), step.to_string());
    }
}
