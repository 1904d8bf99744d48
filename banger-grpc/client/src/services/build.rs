//! Builds of images for a server.
//!
//! Invariants: what is wrong with files of this host is found before anything is sent;
//! files are packed before the server hears of the build, into ones without a name.
//! Entry points: [`RemoteBuilder`].

use async_trait::async_trait;
use banger_api::{
    choices,
    v1::{self, build_input::Kind},
};
use banger_core::{
    ErrorKind,
    directories::Directories,
    domain::{BackendKind, Bytes, Image, ImageName},
    host_fs::PathError,
    image::{
        ProvisionParts,
        build::{
            BuildContainerfileRequest, BuildImageError, BuildImageRequest, BuildMachine,
            ContainerfileBuilder, ImageBuilder, PackedInput, PackedKind, PackedProvision,
            Provision, Source,
        },
    },
    progress::{ProgressEvent, ProgressSink},
    remote::RemoteError,
};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    errors::FromServer as _,
    images::image,
    requests::duration,
    upload::{Unsent, Upload},
    work::{OnDrop, settle},
};

#[derive(Debug)]
pub(super) struct RemoteBuilder {
    pub(super) server: Server,
    /// Where files of this host are packed; nowhere when nobody said where.
    pub(super) directories: Option<Directories>,
    /// Builds on this host; none when nobody said where.
    pub(super) containerfiles: Option<ContainerfileBuilder>,
}

fn nowhere(problem: &str) -> BuildImageError {
    RemoteError::new(ErrorKind::InvalidInput, problem, Vec::new()).into()
}

impl RemoteBuilder {
    /// Packs files of this host. Giving up ends it soon.
    async fn pack(
        &self,
        name: &ImageName,
        provision: Provision,
    ) -> Result<PackedProvision, BuildImageError> {
        let Some(directories) = &self.directories else {
            return Err(nowhere("nothing says where on this host files are packed"));
        };
        let (scratch, cancel) = (directories.images(), CancellationToken::new());
        let _cancel_on_drop = cancel.clone().drop_guard();
        let packing = spawn_blocking(move || provision.pack(&scratch, &cancel));
        settle(packing).await.map_err(|source| BuildImageError::Io {
            name: name.clone(),
            source,
        })
    }

    /// What is built of, in files that nobody changes.
    async fn packed(
        &self,
        name: &ImageName,
        source: Source,
        progress: &dyn ProgressSink,
    ) -> Result<PackedProvision, BuildImageError> {
        let provision = match source {
            Source::Packed(packed) => return Ok(packed),
            Source::Host(provision) => provision,
        };
        provision
            .check()
            .map_err(|source| BuildImageError::Invalid {
                name: name.clone(),
                source,
            })?;
        self.pack(name, provision).await.inspect_err(|_| {
            // as the server would have said, had there been something to send
            let step = format!("reading what goes into {name}");
            progress.emit(ProgressEvent::BuildStep { step });
        })
    }

    /// Sends all inputs; none when there are none.
    async fn send(
        &self,
        name: &ImageName,
        packed: &PackedProvision,
    ) -> Result<Option<Upload>, BuildImageError> {
        let Some(delivery) = packed.delivery() else {
            return Ok(None);
        };
        let unread = |source: PathError| BuildImageError::Io {
            name: name.clone(),
            source,
        };
        match self.server.upload(delivery).await {
            Ok(upload) => Ok(Some(upload)),
            Err(Unsent::Server(failure)) => Err(BuildImageError::from_server(failure)),
            Err(Unsent::Read(source)) => Err(unread(source)),
        }
    }
}

fn parts(parts: ProvisionParts) -> v1::BuildParts {
    v1::BuildParts {
        base_packages: parts.base_packages,
        mise: parts.mise,
        tmux_plugins: parts.tmux_plugins,
        opencode: parts.opencode,
        modules: parts.modules,
    }
}

fn input(input: PackedInput) -> v1::BuildInput {
    v1::BuildInput {
        shown: input.shown.into_string(),
        size_bytes: input.content.length(),
        kind: Some(match input.kind {
            PackedKind::Copy {
                destination,
                is_directory,
            } => Kind::Copy(v1::BuildCopy {
                destination,
                is_directory,
            }),
            PackedKind::Script => Kind::Script(v1::BuildScript {}),
        }),
    }
}

fn machine(machine: &BuildMachine) -> v1::BuildMachine {
    v1::BuildMachine {
        vcpus: machine.vcpus,
        memory_bytes: machine.memory.get(),
        backend: machine.backend.map_or("", BackendKind::as_str).to_owned(),
        network: choices::network(machine.network).into(),
    }
}

#[async_trait]
impl ImageBuilder for RemoteBuilder {
    async fn build_from_image(
        &self,
        request: BuildImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        let name = request.name;
        if self.server.is_image(&name).await {
            return Err(BuildImageError::AlreadyExists { name });
        }
        let base = self.server.image(&request.base).await?;
        if !request.labels.is_empty() {
            return Err(RemoteError::unsupported("builds with labels").into());
        }
        let packed = self.packed(&name, request.source, progress).await?;
        let upload = self.send(&name, &packed).await?;
        let asked = v1::BuildImageRequest {
            base: format!("images/{}", base.id),
            image_id: name.to_string(),
            parts: Some(parts(packed.parts)),
            inputs: packed.inputs.into_iter().map(input).collect(),
            commands: packed.commands,
            upload: upload.as_ref().map(Upload::name).unwrap_or_default(),
            machine: Some(machine(&request.machine)),
            disk_bytes: request.size.map_or(0, Bytes::get),
            timeout: duration(request.deadline),
            ..v1::BuildImageRequest::default()
        };
        let built = self.server.carry_out(asked, OnDrop::Cancel, progress).await;
        let built = built.and_then(image);
        let built = built.map_err(BuildImageError::from_server)?;
        if let Some(upload) = upload {
            upload.taken_over();
        }
        Ok(built)
    }

    async fn build_containerfile(
        &self,
        request: BuildContainerfileRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        let Some(builder) = &self.containerfiles else {
            let problem = "nothing says where on this host Containerfiles are built";
            return Err(nowhere(problem));
        };
        builder.build(request, progress).await
    }
}
