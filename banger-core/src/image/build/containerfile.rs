//! Building an image from a Containerfile, by a program of the host.
//!
//! The program leaves the image in a staging directory that is never
//! published, as an OCI layout or an archive; from there it is pulled as any
//! other image is. Invariants: nothing of ours is named in the program's own
//! store; its output goes to the log and to who watches.

use std::{fs, io, sync::Arc, time::Duration};

use bytes::Bytes as Buffer;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::{process::Command, sync::mpsc, time::Instant};

use super::{
    super::{
        ImageManager, ImageQueryError, PathProblem, PullRequest, keep::KeepError,
        local::publish_lock, validate::settle,
    },
    BuildContainerfileRequest, BuildImageError, ContainerBuilder,
    guest::Listeners,
    log::BuildLog,
};
use crate::{
    directories::Directories,
    domain::{Image, ImageName, Selector},
    host_fs::{IoContext as _, PathError, Staging},
    kernel::KernelResolver,
    oci::ImageReference,
    process::{ChildError, command, run, run_relayed},
    progress::ProgressSink,
    step::reached,
};

/// What asking a program for its version may take.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);
/// The file names that are looked for in a context, as podman and docker do.
const FILE_NAMES: [&str; 2] = ["Containerfile", "Dockerfile"];
/// Chunks of the program's output that may wait.
const QUEUE: usize = 16;

/// Builds Containerfiles by a program of this host, for an image manager that may be
/// elsewhere.
#[derive(Clone, Debug)]
pub struct ContainerfileBuilder {
    /// Pulls what was built.
    pub images: Arc<dyn ImageManager>,
    /// Has what it shall boot with.
    pub kernels: Arc<dyn KernelResolver>,
    /// Where logs and what is in the making lie on this host.
    pub directories: Directories,
}

impl ContainerfileBuilder {
    /// See [`super::ImageBuilder::build_containerfile`].
    pub async fn build(
        &self,
        request: BuildContainerfileRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        let name = &request.name;
        self.name_is_free(name).await?;
        let file = containerfile(&request)?;
        let kernel = self.kernels.resolve(&request.kernel, progress).await;
        kernel.map_err(|source| BuildImageError::Kernel {
            name: name.clone(),
            source,
        })?;
        let program = choose(&request).await?;
        let log = BuildLog::start(&self.directories, name).await?;
        let staging = self.stage().await.map_err(BuildImageError::keep(name))?;
        let mut making = Making {
            request: &request,
            file: &file,
            program,
            scratch: staging.path(),
            log,
            progress,
            end: Instant::now() + request.deadline,
        };
        let reference = making.make().await?;
        let log = making.log;
        let pull = PullRequest {
            reference,
            name: Some(request.name),
            kernel: request.kernel,
            size: request.size,
            containerfile: Some(file),
        };
        let pulled = self.images.pull(pull, progress).await;
        let image = pulled.map_err(|source| BuildImageError::Pull {
            source: Box::new(source),
            log: log.path().to_owned(),
        })?;
        log.remove();
        Ok(image)
    }

    /// Refuses a name that an image has.
    async fn name_is_free(&self, name: &ImageName) -> Result<(), BuildImageError> {
        match self.images.show(&Selector::from(name.as_str())).await {
            Ok(image) if image.name == *name => {
                Err(BuildImageError::AlreadyExists { name: name.clone() })
            }
            // ids may begin with it
            Ok(_) | Err(ImageQueryError::NotFound { .. } | ImageQueryError::Ambiguous { .. }) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A directory for what the program makes. What crashes left of such is removed,
    /// since there may be no manager on this host that would.
    async fn stage(&self) -> Result<Staging, KeepError> {
        let images = self.directories.images();
        let lock = publish_lock(&self.directories).await;
        let _lock = lock.map_err(KeepError::Lock)?;
        Staging::remove_abandoned(&images).map_err(KeepError::Io)?;
        let scratch = images.join(format!("build-{}", uuid::Uuid::now_v7()));
        Staging::create(&scratch).map_err(KeepError::Io)
    }
}

/// The file that is meant.
fn containerfile(request: &BuildContainerfileRequest) -> Result<Utf8PathBuf, BuildImageError> {
    let file = request.containerfile.clone().unwrap_or_else(|| {
        let candidates = FILE_NAMES.map(|name| request.context.join(name));
        let found = candidates.iter().find(|path| path.is_file());
        found.unwrap_or(&candidates[0]).clone()
    });
    let wrong_context = (!request.context.is_dir()).then(|| PathProblem {
        role: "context",
        path: request.context.clone(),
        problem: "is not a directory".to_owned(),
        hint: "give the directory that files are copied from",
    });
    let wrong_file = (!file.is_file()).then(|| PathProblem {
        role: "Containerfile",
        path: file.clone(),
        problem: "is not a file".to_owned(),
        hint: "name it with --file",
    });
    let problems = [wrong_context, wrong_file].into_iter().flatten().collect();
    settle(problems).map_err(|source| BuildImageError::Invalid {
        name: request.name.clone(),
        source,
    })?;
    Ok(file)
}

/// The program that was asked for, or the first one that is installed.
async fn choose(request: &BuildContainerfileRequest) -> Result<ContainerBuilder, BuildImageError> {
    let candidates = match request.program {
        Some(program) => vec![program],
        None => ContainerBuilder::ALL.to_vec(),
    };
    for program in &candidates {
        if is_installed(*program).await {
            return Ok(*program);
        }
    }
    Err(BuildImageError::NoProgram {
        name: request.name.clone(),
        programs: candidates
            .into_iter()
            .map(ContainerBuilder::as_str)
            .collect(),
    })
}

/// A program that is there and fails is left to tell why when it is used.
async fn is_installed(program: ContainerBuilder) -> bool {
    let mut child = command(program.as_str());
    child.arg("--version");
    !matches!(
        run(child, VERSION_DEADLINE).await,
        Err(ChildError::Spawn { .. })
    )
}

/// A program at work.
struct Making<'a> {
    request: &'a BuildContainerfileRequest,
    file: &'a Utf8Path,
    program: ContainerBuilder,
    scratch: &'a Utf8Path,
    log: BuildLog,
    progress: &'a dyn ProgressSink,
    /// When it must be done.
    end: Instant,
}

impl Making<'_> {
    /// Has the image built and answers where it is.
    async fn make(&mut self) -> Result<ImageReference, BuildImageError> {
        let program = self.program.as_str();
        let (file, id_file) = (self.file, self.scratch.join("image-id"));
        self.announce(&format!("building {file} with {program}"))?;
        self.run(build_command(self.program, self.request, file, &id_file))
            .await?;
        let id = read_id(&id_file).map_err(BuildImageError::io(&self.request.name))?;
        self.announce(&format!("taking image {id} from {program}"))?;
        let (export, reference) = export_command(self.program, &id, self.scratch);
        self.run(export).await?;
        reference.parse().map_err(|error| {
            let refusal = io::Error::new(io::ErrorKind::InvalidInput, error);
            BuildImageError::io(&self.request.name)(PathError::new("name", self.scratch, refusal))
        })
    }

    fn announce(&mut self, step: &str) -> Result<(), BuildImageError> {
        let mut listeners = Listeners {
            log: &mut self.log,
            progress: self.progress,
        };
        let announced = listeners.announce(step);
        announced.map_err(BuildImageError::io(&self.request.name))
    }

    async fn run(&mut self, child: Command) -> Result<(), BuildImageError> {
        let name = &self.request.name;
        let (sender, output) = mpsc::channel(QUEUE);
        let mut listeners = Listeners {
            log: &mut self.log,
            progress: self.progress,
        };
        let left = self.end.saturating_duration_since(Instant::now());
        let relayed = run_relayed(child, left, sender);
        let (ran, heard) = tokio::join!(relayed, listen(output, &mut listeners));
        reached("a program of a build ended");
        heard.map_err(BuildImageError::io(name))?;
        ran.map_err(|source| self.failed(name, source))
    }

    fn failed(&self, name: &ImageName, source: ChildError) -> BuildImageError {
        BuildImageError::Program {
            name: name.clone(),
            source,
            log: self.log.path().to_owned(),
        }
    }
}

async fn listen(
    mut output: mpsc::Receiver<Buffer>,
    listeners: &mut Listeners<'_>,
) -> Result<(), PathError> {
    while let Some(bytes) = output.recv().await {
        listeners.hear(bytes)?;
    }
    Ok(())
}

/// The three programs take the same options for a build.
fn build_command(
    program: ContainerBuilder,
    request: &BuildContainerfileRequest,
    file: &Utf8Path,
    id_file: &Utf8Path,
) -> Command {
    let mut child = command(program.as_str());
    child.args([
        "build",
        "--iidfile",
        id_file.as_str(),
        "--file",
        file.as_str(),
    ]);
    for argument in &request.arguments {
        child.args(["--build-arg", argument]);
    }
    if let Some(target) = &request.target {
        child.args(["--target", target]);
    }
    child.arg("--").arg(&request.context);
    child
}

/// Takes an image out of the program's store; and the reference of the result.
fn export_command(program: ContainerBuilder, id: &str, scratch: &Utf8Path) -> (Command, String) {
    let mut child = command(program.as_str());
    let reference = match program {
        ContainerBuilder::Buildah => {
            let layout = format!("oci:{}:built", scratch.join("layout"));
            // the layers are read once, from this host's own disk
            child.args(["push", "--quiet", "--disable-compression", id, &layout]);
            layout
        }
        ContainerBuilder::Podman => {
            let archive = scratch.join("image.tar");
            child.args(["save", "--quiet", "--format", "oci-archive", "--output"]);
            child.args([archive.as_str(), id]);
            format!("oci-archive:{archive}")
        }
        ContainerBuilder::Docker => {
            let archive = scratch.join("image.tar");
            child.args(["save", "--output", archive.as_str(), id]);
            format!("docker-archive:{archive}:@0")
        }
    };
    (child, reference)
}

/// The id that a program wrote: hexadecimal digits, perhaps after `sha256:`.
fn read_id(path: &Utf8Path) -> Result<String, PathError> {
    let text = fs::read_to_string(path).at("read", path)?;
    let id = text.trim();
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(id.to_owned());
    }
    let refusal = io::Error::new(io::ErrorKind::InvalidData, "it holds no image id");
    Err(PathError::new("read", path, refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(context: &Utf8Path) -> BuildContainerfileRequest {
        BuildContainerfileRequest {
            containerfile: None,
            context: context.to_owned(),
            name: "built".parse().unwrap(),
            kernel: crate::kernel::KernelSelection::default(),
            size: None,
            program: None,
            arguments: vec!["A=1".to_owned()],
            target: Some("stage".to_owned()),
            deadline: VERSION_DEADLINE,
        }
    }

    fn words(command: &Command) -> Vec<String> {
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| word.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn command_lines_are_those_of_the_programs() {
        let context = Utf8Path::new("/context");
        let (file, id) = (Utf8Path::new("/file"), Utf8Path::new("/id"));
        let build = build_command(ContainerBuilder::Podman, &request(context), file, id);
        let expected =
            "podman build --iidfile /id --file /file --build-arg A=1 --target stage -- /context";
        assert_eq!(words(&build).join(" "), expected);
        let cases = [
            (
                ContainerBuilder::Buildah,
                "buildah push --quiet --disable-compression ab oci:/s/layout:built",
                "oci:/s/layout:built",
            ),
            (
                ContainerBuilder::Podman,
                "podman save --quiet --format oci-archive --output /s/image.tar ab",
                "oci-archive:/s/image.tar",
            ),
            (
                ContainerBuilder::Docker,
                "docker save --output /s/image.tar ab",
                "docker-archive:/s/image.tar:@0",
            ),
        ];
        for (program, line, expected) in cases {
            let (command, reference) = export_command(program, "ab", Utf8Path::new("/s"));
            assert_eq!(words(&command).join(" "), line);
            assert_eq!(reference, expected);
            assert_eq!(
                reference.parse::<ImageReference>().unwrap().to_string(),
                reference
            );
        }
    }

    #[test]
    fn the_file_is_looked_for_as_podman_does() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let missing = containerfile(&request(root)).unwrap_err();
        assert_eq!(missing.kind(), crate::ErrorKind::InvalidInput);
        for name in ["Dockerfile", "Containerfile"] {
            fs::write(root.join(name), "FROM scratch").unwrap();
            assert_eq!(containerfile(&request(root)).unwrap(), root.join(name));
        }
        let wrong = request(&root.join("none"));
        let Err(BuildImageError::Invalid { source, .. }) = containerfile(&wrong) else {
            panic!("a context that is not there was taken");
        };
        assert_eq!(source.problems().len(), 2);
    }

    #[test]
    fn ids_are_told_from_everything_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path()).unwrap().join("id");
        for (text, id) in [
            ("sha256:ab12\n", Some("ab12")),
            ("ab12", Some("ab12")),
            ("", None),
            ("sha256:", None),
            ("--help", None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_id(&path).ok().as_deref(), id, "{text}");
        }
    }
}
