//! Requests to build images.

use std::{collections::BTreeMap, time::Duration};

use banger_core::{
    domain::Selector,
    image::{
        ProvisionParts,
        build::{BuildContainerfileRequest, BuildImageRequest, BuildMachine, GuestCopy, Provision},
    },
};
use camino::{Utf8Path, Utf8PathBuf};

use super::{PlainTask, image::kernel};
use crate::args::{BuildImageArgs, ProvisionArgs};

pub(super) fn build(args: BuildImageArgs, directory: &Utf8Path) -> PlainTask {
    match &args.from_image {
        Some(base) => {
            let base = Selector::from(base.as_str());
            PlainTask::BuildFromImage(Box::new(from_image(base, args, directory)))
        }
        None => PlainTask::BuildContainerfile(Box::new(containerfile(args, directory))),
    }
}

fn from_image(base: Selector, args: BuildImageArgs, directory: &Utf8Path) -> BuildImageRequest {
    BuildImageRequest {
        base,
        name: args.name,
        size: args.size,
        machine: BuildMachine {
            vcpus: args.provision.cpus,
            memory: args.provision.memory,
            backend: args.provision.backend,
            network: args.provision.network,
        },
        source: provision(args.provision, directory).into(),
        labels: BTreeMap::new(),
        deadline: Duration::from_secs(args.timeout),
    }
}

fn provision(args: ProvisionArgs, directory: &Utf8Path) -> Provision {
    let copy = |(source, destination): (Utf8PathBuf, String)| GuestCopy {
        source: directory.join(source),
        destination,
    };
    Provision {
        parts: parts(&args),
        copies: args.copy.into_iter().map(copy).collect(),
        scripts: args
            .script
            .iter()
            .map(|path| directory.join(path))
            .collect(),
        commands: args.run,
    }
}

const fn parts(args: &ProvisionArgs) -> ProvisionParts {
    if args.bare {
        return ProvisionParts::NONE;
    }
    ProvisionParts {
        base_packages: !args.no_base_packages,
        mise: !args.no_mise,
        tmux_plugins: !args.no_tmux_plugins,
        opencode: !args.no_opencode,
        modules: !args.no_modules,
    }
}

/// The context is the file's directory when only the file is given.
fn containerfile(args: BuildImageArgs, directory: &Utf8Path) -> BuildContainerfileRequest {
    let file = args.file.map(|file| directory.join(file));
    let beside = file.as_deref().and_then(Utf8Path::parent);
    let context = match (args.context, beside) {
        (Some(context), _) => directory.join(context),
        (None, Some(beside)) => beside.to_owned(),
        (None, None) => directory.to_owned(),
    };
    BuildContainerfileRequest {
        containerfile: file,
        context,
        name: args.name,
        kernel: kernel(args.kernel, directory),
        size: args.size,
        program: args.containerfile.builder,
        arguments: args.containerfile.build_arg,
        target: args.containerfile.target,
        deadline: Duration::from_secs(args.timeout),
    }
}
