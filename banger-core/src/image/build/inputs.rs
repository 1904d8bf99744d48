//! What a build does in its guest: steps in order, with all that they need.
//!
//! Invariants: steps are made of what was packed before the machine is made;
//! nothing of the user's becomes part of a text that a shell reads, but the
//! commands that are given as such; the digest is of what is sent.

use std::{fs::File, io};

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        PathProblem, ValidationError, build_modules_command, build_provision_script,
        validate::settle,
    },
    BuildImageError, GuestCopy, PackedInput, PackedKind, PackedProvision, Provision,
    packed::{InputHasher, Unpackable},
    parcel::{pack, spool},
};
use crate::{
    domain::{BootArtifacts, Digest, ImageName},
    host_fs::{FileRange, IoContext as _, PathError},
    kernel::find_banner,
};

/// Changes whenever the same inputs do something else.
const VERSION: &[u8] = b"banger image build 1";
/// Unpacks standard input below `$1`, which is made.
const UNPACK: &str = r#"set -eu; mkdir -p -- "$1"; exec tar -xpf - -C "$1""#;
/// Runs standard input as a program, from a place that is gone with the machine.
const RUN_PROGRAM: &str = "set -eu; mkdir -p /run/banger; cat >/run/banger/script; \
    chmod 700 /run/banger/script; exec /run/banger/script </dev/null";
/// Runs standard input as a script of the shell.
const RUN_SCRIPT: &str = "set -eu; mkdir -p /run/banger; cat >/run/banger/script; \
    exec sh /run/banger/script </dev/null";
/// Most characters of a command in the name of its step.
const COMMAND_SHOWN: usize = 60;

/// One command in the guest.
#[derive(Clone, Debug)]
pub(super) struct GuestStep {
    /// What it is, for people.
    pub(super) name: String,
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Its standard input.
    pub(super) input: Option<FileRange>,
    /// Whether it is a part of banger's own, and no input of the user's.
    pub(super) is_own: bool,
}

/// All steps, and a digest of what the user and banger put into them.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) steps: Vec<GuestStep>,
    pub(super) digest: Digest,
}

/// Why inputs cannot be used.
#[derive(Debug)]
pub(super) enum GatherError {
    /// A host file failed.
    Io(PathError),
    /// A parcel is none.
    Parcel(PathProblem),
}

impl From<PathError> for GatherError {
    fn from(error: PathError) -> Self {
        Self::Io(error)
    }
}

impl GatherError {
    pub(super) fn of(self, name: &ImageName) -> BuildImageError {
        let name = name.clone();
        match self {
            Self::Io(source) => BuildImageError::Io { name, source },
            Self::Parcel(problem) => BuildImageError::Invalid {
                name,
                source: problem.into(),
            },
        }
    }
}

impl Provision {
    /// Checks the files that it takes from the host, all of them.
    pub fn check(&self) -> Result<(), ValidationError> {
        let copies = self.copies.iter().filter_map(copy_problem);
        let scripts = self.scripts.iter().filter_map(|path| script_problem(path));
        settle(copies.chain(scripts).collect())
    }

    /// Reads all files into ones without a name in `scratch`, which is made if need
    /// be. Holds up its thread; ends soon after `cancel` was.
    pub fn pack(
        &self,
        scratch: &Utf8Path,
        cancel: &CancellationToken,
    ) -> Result<PackedProvision, PathError> {
        let mut inputs = Vec::with_capacity(self.copies.len() + self.scripts.len());
        for copy in &self.copies {
            let is_directory = copy.source.is_dir();
            let name = if is_directory { None } else { file_name(copy) };
            inputs.push(PackedInput {
                shown: copy.source.clone(),
                kind: PackedKind::Copy {
                    destination: copy.destination.clone(),
                    is_directory,
                },
                content: pack(&copy.source, name, scratch, cancel)?,
            });
        }
        for script in &self.scripts {
            inputs.push(PackedInput {
                shown: script.clone(),
                kind: PackedKind::Script,
                content: spool(script, scratch)?,
            });
        }
        Ok(PackedProvision {
            parts: self.parts,
            inputs,
            commands: self.commands.clone(),
        })
    }
}

/// Checks what somebody else packed, as far as that needs no reading.
pub(super) fn check_packed(provision: &PackedProvision) -> Result<(), ValidationError> {
    let wrong = provision
        .inputs
        .iter()
        .filter_map(|input| match &input.kind {
            PackedKind::Copy { destination, .. } => destination_problem(&input.shown, destination),
            PackedKind::Script => None,
        });
    settle(wrong.collect())
}

/// What is wrong with a path of the guest.
fn destination_problem(source: &Utf8Path, destination: &str) -> Option<PathProblem> {
    let (path, problem, hint) = if !destination.starts_with('/') {
        (
            Utf8PathBuf::from(destination),
            "is not absolute".to_owned(),
            "give a path of the guest that begins with /",
        )
    } else if destination.contains('\0') {
        (
            source.to_owned(),
            "goes to a path with a NUL".to_owned(),
            "give a path of the guest",
        )
    } else {
        return None;
    };
    Some(PathProblem {
        role: "copy",
        path,
        problem,
        hint,
    })
}

fn copy_problem(copy: &GuestCopy) -> Option<PathProblem> {
    let wrong = destination_problem(&copy.source, &copy.destination);
    if wrong.is_some() {
        return wrong;
    }
    let problem = match copy.source.metadata() {
        Ok(found) if found.is_file() && file_name(copy).is_none() => {
            "is a file and goes to a path without a name".to_owned()
        }
        Ok(found) if found.is_file() || found.is_dir() => return None,
        Ok(_) => "is neither a file nor a directory".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Some(PathProblem {
        role: "copy",
        path: copy.source.clone(),
        problem,
        hint: "give a file or a directory of the host",
    })
}

fn script_problem(path: &Utf8Path) -> Option<PathProblem> {
    let problem = match path.metadata() {
        Ok(found) if found.is_file() => return None,
        Ok(_) => "is not a regular file".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Some(PathProblem {
        role: "script",
        path: path.to_owned(),
        problem,
        hint: "give the path of a script",
    })
}

/// The name a file has in the guest.
fn file_name(copy: &GuestCopy) -> Option<&str> {
    let destination = Utf8Path::new(&copy.destination);
    if copy.destination.ends_with('/') {
        copy.source.file_name()
    } else {
        destination.file_name()
    }
}

/// The directory of the guest that a copied file lies in.
fn parent(destination: &str) -> &str {
    if destination.ends_with('/') {
        return destination;
    }
    let parent = Utf8Path::new(destination).parent();
    parent.map_or("/", Utf8Path::as_str)
}

/// Makes steps of what was packed, and of the modules of the kernel of this host,
/// which are packed in `scratch`. Holds up its thread.
pub(super) fn gather(
    provision: &PackedProvision,
    boot: &BootArtifacts,
    scratch: &Utf8Path,
    cancel: &CancellationToken,
) -> Result<Inputs, GatherError> {
    let mut gatherer = Gatherer {
        scratch,
        cancel,
        hasher: InputHasher::default(),
        steps: Vec::new(),
        at_own_parts: true,
    };
    gatherer.hasher.field(VERSION);
    if provision.parts.modules {
        gatherer.modules(boot)?;
    }
    gatherer.own_script(provision);
    gatherer.at_own_parts = false;
    for input in &provision.inputs {
        gatherer.input(input)?;
    }
    for command in &provision.commands {
        gatherer.command(command);
    }
    Ok(Inputs {
        steps: gatherer.steps,
        digest: gatherer.hasher.finish(),
    })
}

struct Gatherer<'a> {
    scratch: &'a Utf8Path,
    cancel: &'a CancellationToken,
    hasher: InputHasher,
    steps: Vec<GuestStep>,
    /// Whether banger's own parts are being gathered.
    at_own_parts: bool,
}

impl Gatherer<'_> {
    /// The kernel's modules, where there are any.
    fn modules(&mut self, boot: &BootArtifacts) -> Result<(), GatherError> {
        let Some(modules) = &boot.modules else {
            return Ok(());
        };
        let release = release_of(&boot.kernel)?;
        let command = build_modules_command(&release).ok_or_else(|| no_release(&boot.kernel))?;
        self.hasher.field(b"modules");
        let input = pack(modules, None, self.scratch, self.cancel)?;
        self.parcel("modules", modules, &input)?;
        let name = format!("installing the modules of Linux {release}");
        self.step(name, vec![command], Some(input));
        Ok(())
    }

    fn own_script(&mut self, provision: &PackedProvision) {
        if let Some(script) = build_provision_script(provision.parts) {
            self.hasher.field(script.as_bytes());
            self.step("installing banger's parts".to_owned(), vec![script], None);
        }
    }

    fn input(&mut self, input: &PackedInput) -> Result<(), GatherError> {
        match &input.kind {
            PackedKind::Copy {
                destination,
                is_directory,
            } => {
                self.hasher.field(b"copy");
                self.hasher.field(destination.as_bytes());
                self.parcel("copy", &input.shown, &input.content)?;
                let below = if *is_directory {
                    destination
                } else {
                    parent(destination)
                };
                let name = format!("copying {} to {destination}", input.shown);
                let arguments = [UNPACK, "sh", below].map(str::to_owned);
                self.step(name, arguments.to_vec(), Some(input.content.clone()));
                Ok(())
            }
            PackedKind::Script => self.script(&input.shown, &input.content),
        }
    }

    /// Hashes what a parcel says, and refuses one that is none.
    fn parcel(
        &mut self,
        role: &'static str,
        shown: &Utf8Path,
        parcel: &FileRange,
    ) -> Result<(), GatherError> {
        let hashed = self.hasher.parcel(parcel, self.cancel);
        hashed.map_err(|Unpackable(problem)| {
            GatherError::Parcel(PathProblem {
                role,
                path: shown.to_owned(),
                problem: format!("cannot be unpacked: {problem}"),
                hint: "pack it again",
            })
        })
    }

    fn script(&mut self, path: &Utf8Path, input: &FileRange) -> Result<(), GatherError> {
        self.hasher.field(b"script");
        self.hasher.content(input).at("read", path)?;
        let start = input.read_at_most(2).at("read", path)?;
        let run = if start == b"#!" {
            RUN_PROGRAM
        } else {
            RUN_SCRIPT
        };
        let input = Some(input.clone());
        self.step(format!("script {path}"), vec![run.to_owned()], input);
        Ok(())
    }

    fn command(&mut self, command: &str) {
        self.hasher.field(b"command");
        self.hasher.field(command.as_bytes());
        let shown: String = command.chars().take(COMMAND_SHOWN).collect();
        let more = if shown.len() < command.len() {
            "…"
        } else {
            ""
        };
        let name = format!("command {shown}{more}");
        self.step(one_line(&name), vec![command.to_owned()], None);
    }

    /// `sh -c` and what comes after it.
    fn step(&mut self, name: String, arguments: Vec<String>, input: Option<FileRange>) {
        let shell = ["sh", "-c"].map(str::to_owned);
        self.steps.push(GuestStep {
            name,
            argv: shell.into_iter().chain(arguments).collect(),
            input,
            is_own: self.at_own_parts,
        });
    }
}

fn release_of(kernel: &Utf8Path) -> Result<String, PathError> {
    let file = File::open(kernel).at("open", kernel)?;
    let release = find_banner(file).at("read", kernel)?;
    release.ok_or_else(|| no_release(kernel))
}

fn no_release(kernel: &Utf8Path) -> PathError {
    let problem = "it tells none: leave its modules out";
    let refusal = io::Error::new(io::ErrorKind::InvalidData, problem);
    PathError::new("find the release of", kernel, refusal)
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::ProvisionParts;

    fn provision() -> Provision {
        Provision {
            parts: ProvisionParts::NONE,
            ..Provision::default()
        }
    }

    fn copy(source: &Utf8Path, destination: &str) -> GuestCopy {
        GuestCopy {
            source: source.to_owned(),
            destination: destination.to_owned(),
        }
    }

    fn gathered(provision: &Provision, scratch: &Utf8Path) -> Inputs {
        let (boot, cancel) = (BootArtifacts::default(), CancellationToken::new());
        let packed = provision.pack(scratch, &cancel).unwrap();
        gather(&packed, &boot, scratch, &cancel).unwrap()
    }

    #[test]
    fn steps_come_in_order_and_commands_stay_as_they_are() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("file"), "#!/bin/sh").unwrap();
        fs::write(root.join("plain"), "echo").unwrap();
        let provision = Provision {
            parts: ProvisionParts {
                base_packages: true,
                ..ProvisionParts::NONE
            },
            copies: vec![copy(&root.join("file"), "/etc/x'y")],
            scripts: vec![root.join("file"), root.join("plain")],
            commands: vec!["echo \"$HOME\"\nfalse".to_owned()],
        };
        let inputs = gathered(&provision, root);
        let names: Vec<&str> = inputs.steps.iter().map(|step| step.name.as_str()).collect();
        let file = root.join("file");
        assert_eq!(names[0], "installing banger's parts");
        assert_eq!(names[1], format!("copying {file} to /etc/x'y"));
        assert_eq!(names[2], format!("script {file}"));
        assert_eq!(names[4], "command echo \"$HOME\" false");
        assert_eq!(inputs.steps[1].argv[2..], [UNPACK, "sh", "/etc"]);
        assert_eq!(inputs.steps[2].argv[2..], [RUN_PROGRAM]);
        assert_eq!(inputs.steps[3].argv[2..], [RUN_SCRIPT]);
        assert_eq!(inputs.steps[4].argv, ["sh", "-c", "echo \"$HOME\"\nfalse"]);
    }

    #[test]
    fn files_get_the_names_that_docker_would_give_them() {
        let file = Utf8Path::new("/host/file");
        for (destination, below, name) in [
            ("/etc/", "/etc/", Some("file")),
            ("/etc/new", "/etc", Some("new")),
            ("/new", "/", Some("new")),
            ("/", "/", Some("file")),
            ("/etc/..", "/etc", None),
        ] {
            let copy = copy(file, destination);
            assert_eq!(
                (parent(destination), file_name(&copy)),
                (below, name),
                "{destination}"
            );
        }
    }

    #[test]
    fn every_wrong_file_is_reported_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let provision = Provision {
            copies: vec![
                copy(&root.join("none"), "/a"),
                copy(&root.join("file"), "relative"),
                copy(&root.join("file"), "/etc/.."),
                copy(root, "/etc/.."),
            ],
            scripts: vec![root.to_owned(), root.join("gone")],
            ..provision()
        };
        let error = provision.check().unwrap_err();
        let roles: Vec<&str> = error
            .problems()
            .iter()
            .map(|problem| problem.role)
            .collect();
        assert_eq!(roles, ["copy", "copy", "copy", "script", "script"]);
    }

    #[test]
    fn the_digest_knows_every_input_and_where_it_belongs() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("file"), "content").unwrap();
        let command = |text: &str| Provision {
            commands: vec![text.to_owned()],
            ..provision()
        };
        let copied = |destination: &str| Provision {
            copies: vec![copy(&root.join("file"), destination)],
            ..provision()
        };
        let scripted = Provision {
            scripts: vec![root.join("file")],
            ..provision()
        };
        let two = Provision {
            commands: vec!["a".to_owned(), "b".to_owned()],
            ..provision()
        };
        let parts = Provision {
            parts: ProvisionParts::ALL,
            ..provision()
        };
        let all = [
            provision(),
            command("a"),
            command("ab"),
            two,
            copied("/a"),
            copied("/b"),
            scripted,
            parts,
        ];
        let digests: Vec<Digest> = all.iter().map(|one| gathered(one, root).digest).collect();
        let distinct: std::collections::HashSet<&Digest> = digests.iter().collect();
        assert_eq!(distinct.len(), all.len());
        let again: Vec<Digest> = all.iter().map(|one| gathered(one, root).digest).collect();
        assert_eq!(again, digests);
    }

    #[test]
    fn modules_of_a_kernel_without_a_release_are_an_error_and_no_guess() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::create_dir(root.join("modules")).unwrap();
        let modules = Provision {
            parts: ProvisionParts {
                modules: true,
                ..ProvisionParts::NONE
            },
            ..provision()
        };
        let boot = BootArtifacts {
            kernel: root.join("vmlinux"),
            initrd: None,
            modules: Some(root.join("modules")),
        };
        let cancel = CancellationToken::new();
        let packed = modules.pack(root, &cancel).unwrap();
        let gather = || super::gather(&packed, &boot, root, &cancel);
        fs::write(root.join("vmlinux"), "no kernel").unwrap();
        let GatherError::Io(refused) = gather().unwrap_err() else {
            panic!("a kernel without a release is no parcel");
        };
        assert!(refused.to_string().contains("release"), "{refused}");
        fs::write(root.join("vmlinux"), "ELF Linux version 6.1.0-9 (x)").unwrap();
        let steps = gather().unwrap().steps;
        assert_eq!(steps[0].name, "installing the modules of Linux 6.1.0-9");
    }
}
