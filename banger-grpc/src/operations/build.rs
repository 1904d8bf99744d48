//! Building images in machines.
//!
//! Invariants: what a client sent is a part of its upload and nothing else of the host;
//! the machine has the operation's label, so that it is its caller's, is not counted
//! twice, and is found when the operation is given up. Entry points: [`build_image`],
//! [`build_request`], [`check_length`].

use std::{collections::BTreeMap, fs::File, time::Duration};

use banger_api::v1::{
    self, BuildImageRequest, BuildInput, PhaseKind, build_input::Kind, operation::Outcome,
};
use banger_core::{
    domain::{Bytes, Image, ImageName, ImageOrigin, NetworkMode, Selector, VmState},
    host_fs::{FileRange, IoContext as _, PathError},
    image::{
        ProvisionParts,
        build::{
            self, BuildImageError, BuildMachine, PackedInput, PackedKind, PackedProvision, Source,
        },
    },
    vm::CreateVm,
};
use tokio::time::{Instant, sleep};

use super::{
    artifacts::settled,
    machines::{Outcomes, PAUSE, SETTLING, check_time, owner, remove},
    work::Context,
};
use crate::{
    convert::{self, spec, vm::OPERATION_LABEL},
    fault::Fault,
    request::{Checks, name::IMAGES},
    uploads::Held,
};

/// Most inputs of a build.
const MAX_INPUTS: usize = 1024;
/// Longest path of an input, where it is from and where it goes.
const MAX_PATH: usize = 4096;
/// What a guest may take unless its caller says.
const TIMEOUT: Duration = Duration::from_hours(1);

/// What the core is to build, but for what was sent. Pure.
pub(crate) fn build_request(
    request: &BuildImageRequest,
) -> Result<build::BuildImageRequest, Fault> {
    let mut checks = Checks::default();
    let base = IMAGES.id("base", &request.base, &mut checks);
    let base = Selector::from(base.unwrap_or_default());
    let name = checks.parse::<ImageName>("image_id", &request.image_id);
    let machine = machine(&request.machine.clone().unwrap_or_default(), &mut checks);
    let timeout = checks.duration("timeout", request.timeout);
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        checks.violated("timeout", "must be longer than nothing");
    }
    spec::check_words("commands", &request.commands, &mut checks);
    check_inputs(request, &mut checks);
    checks.finish()?;
    // it is there, or the checks had not finished
    let name = name.ok_or_else(|| Fault::invalid(Vec::new()))?;
    let parts = request.parts.unwrap_or_default();
    Ok(build::BuildImageRequest {
        base,
        name,
        source: Source::Packed(PackedProvision {
            parts: ProvisionParts {
                base_packages: parts.base_packages,
                mise: parts.mise,
                tmux_plugins: parts.tmux_plugins,
                opencode: parts.opencode,
                modules: parts.modules,
            },
            inputs: Vec::new(),
            commands: request.commands.clone(),
        }),
        size: (request.disk_bytes != 0).then(|| Bytes::new(request.disk_bytes)),
        machine,
        labels: BTreeMap::new(),
        deadline: timeout.unwrap_or(TIMEOUT),
    })
}

fn machine(asked: &v1::BuildMachine, checks: &mut Checks) -> BuildMachine {
    let usual = CreateVm::new(Selector::from(""));
    let network = spec::network("machine.network", asked.network, checks);
    BuildMachine {
        vcpus: spec::given_or(asked.vcpus, usual.vcpus),
        memory: spec::size_or(asked.memory_bytes, usual.memory),
        backend: spec::backend("machine.backend", &asked.backend, checks),
        network: network.unwrap_or(NetworkMode::User),
    }
}

fn check_inputs(request: &BuildImageRequest, checks: &mut Checks) {
    let inputs = &request.inputs;
    if MAX_INPUTS < inputs.len() {
        return checks.violated("inputs", format!("has more than {MAX_INPUTS} parts"));
    }
    if inputs.is_empty() != request.upload.is_empty() {
        checks.violated("upload", "is given if there are inputs, and only then");
    }
    for (index, input) in inputs.iter().enumerate() {
        let mut wrong = |field: &str, problem| {
            checks.violated(&format!("inputs[{index}].{field}"), problem);
        };
        if MAX_PATH < input.shown.len() {
            wrong("shown", "is too long");
        }
        match &input.kind {
            Some(Kind::Copy(copy)) => {
                let destination = &copy.destination;
                if MAX_PATH < destination.len() {
                    wrong("copy.destination", "is too long");
                }
                if !destination.starts_with('/') || destination.contains('\0') {
                    wrong("copy.destination", "is no absolute path");
                }
            }
            Some(Kind::Script(_)) => {}
            None => wrong("kind", "is missing"),
        }
    }
}

/// Fails unless the inputs are so long together.
pub(crate) fn check_length(request: &BuildImageRequest, length: u64) -> Result<(), Fault> {
    let mut sizes = request.inputs.iter().map(|input| input.size_bytes);
    let total = sizes.try_fold(0, u64::checked_add);
    if total == Some(length) {
        return Ok(());
    }
    let mut checks = Checks::default();
    let problem = format!("are not as long together as the upload, which has {length} bytes");
    checks.violated("inputs", problem);
    checks.finish()
}

/// The inputs, as parts of what was sent.
fn packed(request: &BuildImageRequest, held: Option<&Held>) -> Result<Vec<PackedInput>, Fault> {
    let Some(held) = held else {
        return Ok(Vec::new());
    };
    let whole = open(held).map_err(|error| Fault::of(error.kind(), &error))?;
    check_length(request, whole.length())?;
    let mut start = 0;
    let inputs = request.inputs.iter().map(|input| {
        let content = whole.part(start, input.size_bytes)?;
        start += input.size_bytes;
        of_input(input, content)
    });
    let inputs: Option<Vec<PackedInput>> = inputs.collect();
    // they add up, and are of a kind, or the checks had failed
    inputs.ok_or_else(|| Fault::invalid(Vec::new()))
}

fn open(held: &Held) -> Result<FileRange, PathError> {
    let file = File::open(&held.file).at("open", &held.file)?;
    FileRange::whole(file).at("inspect", &held.file)
}

fn of_input(input: &BuildInput, content: FileRange) -> Option<PackedInput> {
    let kind = match input.kind.as_ref()? {
        Kind::Copy(copy) => PackedKind::Copy {
            destination: copy.destination.clone(),
            is_directory: copy.is_directory,
        },
        Kind::Script(_) => PackedKind::Script,
    };
    Some(PackedInput {
        shown: input.shown.clone().into(),
        kind,
        content,
    })
}

pub(super) async fn build_image(context: &Context, request: &BuildImageRequest) -> Outcomes {
    let held = context.hold(&request.upload)?;
    let mut wanted = build_request(request)?;
    if let Source::Packed(provision) = &mut wanted.source {
        provision.inputs = packed(request, held.as_ref())?;
    }
    let operation = context.operation.id.to_string();
    wanted.labels.insert(OPERATION_LABEL.to_owned(), operation);
    wanted.labels.extend(owner(context).await?);
    let builder = &context.backend.builder;
    let building = builder.build_from_image(wanted, context.journal.as_ref());
    let image = match context.phase(PhaseKind::Build, building).await {
        Ok(image) => image,
        Err(BuildImageError::AlreadyExists { name }) if context.is_resumed() => {
            let own = context.own_image(&name, |found| is_of_base(request, found));
            own.await?.ok_or(BuildImageError::AlreadyExists { name })?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Outcome::Image(convert::image::image(&image))))
}

/// Whether an image was built of the base that is asked for.
fn is_of_base(request: &BuildImageRequest, image: &Image) -> bool {
    let wanted = settled(&request.base, "images/");
    matches!(
        &image.origin,
        ImageOrigin::Built { base, .. } if wanted == Some(base.to_string().as_str())
    )
}

/// Ends the machine, which the dropped build may still be about to end.
pub(super) async fn undo_build(context: &Context) -> Result<(), Fault> {
    let deadline = Instant::now() + SETTLING;
    let operation = context.operation.id.to_string();
    loop {
        let all = context.backend.vms.list().await?;
        let is_ours = |label: Option<&String>| label == Some(&operation);
        let mut ours = all.iter();
        let Some(vm) = ours.find(|one| is_ours(one.spec.labels.get(OPERATION_LABEL))) else {
            return Ok(());
        };
        let id = vm.id.to_string();
        if vm.state != VmState::Creating {
            remove(&context.backend, &id).await?;
        }
        check_time(deadline, &id)?;
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use banger_api::v1::ErrorReason;

    use super::*;

    fn input(size_bytes: u64, destination: &str) -> BuildInput {
        BuildInput {
            shown: "/home/ann/tree".to_owned(),
            size_bytes,
            kind: Some(Kind::Copy(v1::BuildCopy {
                destination: destination.to_owned(),
                is_directory: true,
            })),
        }
    }

    fn request(inputs: Vec<BuildInput>) -> BuildImageRequest {
        BuildImageRequest {
            base: "images/small".to_owned(),
            image_id: "built".to_owned(),
            upload: if inputs.is_empty() { "" } else { "uploads/x" }.to_owned(),
            inputs,
            ..BuildImageRequest::default()
        }
    }

    #[test]
    fn requests_are_checked_before_anything_is_looked_at() {
        let usual = build_request(&request(vec![input(1, "/a")])).unwrap();
        assert_eq!(usual.deadline, TIMEOUT);
        assert_eq!(usual.machine.network, NetworkMode::User);
        let long = "/".repeat(MAX_PATH + 1);
        for (wrong, field) in [
            (request(vec![input(1, "a")]), "inputs[0].copy.destination"),
            (request(vec![input(1, "/\0")]), "inputs[0].copy.destination"),
            (request(vec![input(1, &long)]), "inputs[0].copy.destination"),
            (request(vec![BuildInput::default()]), "inputs[0].kind"),
            (request(vec![input(1, "/a"); 1025]), "inputs"),
            (
                BuildImageRequest {
                    upload: "uploads/x".to_owned(),
                    ..request(Vec::new())
                },
                "upload",
            ),
            (
                BuildImageRequest {
                    commands: vec!["\0".to_owned()],
                    ..request(Vec::new())
                },
                "commands",
            ),
            (
                BuildImageRequest {
                    timeout: Some(prost_types::Duration::default()),
                    ..request(Vec::new())
                },
                "timeout",
            ),
        ] {
            let refused = build_request(&wrong).unwrap_err();
            assert_eq!(refused.reason(), ErrorReason::InvalidRequest);
            assert!(refused.message().contains(field), "{}", refused.message());
        }
    }

    #[test]
    fn lengths_add_up_or_are_refused() {
        let two = request(vec![input(3, "/a"), input(4, "/b")]);
        assert!(check_length(&two, 7).is_ok());
        assert!(check_length(&two, 8).is_err());
        let endless = request(vec![input(u64::MAX, "/a"), input(8, "/b")]);
        assert!(check_length(&endless, 7).is_err());
    }
}
