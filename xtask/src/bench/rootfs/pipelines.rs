//! The ways from an image to a disk that are compared.
//!
//! Invariant: each starts with nothing of its own and leaves nothing where the
//! next one works. Entry points: [`Pipeline`], [`Bench::run`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;

use super::{
    super::{
        counts::Counts,
        images::{Image, TAG},
        layout,
        program::banger,
    },
    measure::{Sample, measure},
    original,
    registry::Registry,
};
use crate::{
    Result,
    paths::{failed_at, workspace},
    run::command,
};

/// How much larger than what it holds a disk is made, in percent; banger's own
/// rule, as is the least size.
const ROOM: u64 = 125;
const LEAST_DISK: u64 = 1 << 30;

/// `umoci` and `mkfs.ext4 -d` as root. What is not said here is as they
/// do it by default.
const UMOCI: &str = r#"
umoci unpack --image "$image" tree
mkfs.ext4 -q -F -N "$inodes" -d tree/rootfs disk.ext4 "$size"
"#;

/// GNU tar and `mkfs.ext4 -d` as root; whiteouts stay files, which makes the
/// disk wrong, and the way a lower bound of all that go by a tree.
const TAR: &str = r#"
mkdir tree
for layer; do
    tar --extract --gzip --file="$layer" --directory=tree --same-permissions --numeric-owner \
        --xattrs --xattrs-include='*' --acls --recursive-unlink
done
mkfs.ext4 -q -F -N "$inodes" -d tree disk.ext4 "$size"
"#;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pipeline {
    /// banger from a layout
    Layout,
    /// banger from a layout, within 64 MiB
    #[value(name = "memory-64")]
    Memory64,
    /// banger from a registry, with an empty cache
    Registry,
    /// skopeo from a registry: fetching alone
    Skopeo,
    /// Flatten unprivileged, mkfs.ext4 -d, debugfs: how banger began
    Original,
    /// umoci unpack, mkfs.ext4 -d
    Umoci,
    /// tar, mkfs.ext4 -d
    Tar,
}

impl Pipeline {
    pub(super) const ALL: [Self; 7] = [
        Self::Layout,
        Self::Memory64,
        Self::Registry,
        Self::Skopeo,
        Self::Original,
        Self::Umoci,
        Self::Tar,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Layout => "layout",
            Self::Memory64 => "memory-64",
            Self::Registry => "registry",
            Self::Skopeo => "skopeo",
            Self::Original => "original",
            Self::Umoci => "umoci",
            Self::Tar => "tar",
        }
    }

    /// Whether it can read the image: the tools at hand know gzip only.
    pub(super) fn suits(self, image: Image) -> bool {
        let knows_zstd = matches!(
            self,
            Self::Layout | Self::Memory64 | Self::Registry | Self::Skopeo
        );
        knows_zstd || image != Image::MediumZstd
    }

    fn command(self, subject: &Subject, directory: &Path) -> Result<Command> {
        Ok(match self {
            Self::Layout => build(&subject.reference, &[], directory),
            Self::Memory64 => build(&subject.reference, &["--memory", "64M"], directory),
            Self::Registry => build(&subject.pushed, &[], directory),
            Self::Skopeo => skopeo(subject, directory),
            Self::Original => original::pipeline(subject, directory)?,
            Self::Umoci => shell(UMOCI, subject, directory),
            Self::Tar => shell(TAR, subject, directory),
        })
    }
}

/// An image, ready to be measured.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) image: Image,
    pub(super) layout: PathBuf,
    pub(super) layers: Vec<PathBuf>,
    pub(super) counts: Counts,
    /// As banger names it in its layout.
    reference: String,
    /// As it is named in the registry.
    pushed: String,
}

impl Subject {
    /// Inodes of a disk made from a tree.
    pub(super) fn inodes(&self) -> u64 {
        self.counts.entries * ROOM / 100 + 4096
    }

    /// KiB of a disk made from a tree.
    pub(super) fn kibibytes(&self) -> u64 {
        let bytes = self.counts.blocks + self.counts.entries * 1024;
        (bytes * ROOM / 100).max(LEAST_DISK) / 1024
    }
}

/// Where pipelines run.
pub(super) struct Bench {
    pub(super) directory: PathBuf,
    registry: Registry,
    runs: u32,
}

impl Bench {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let aside = directory.join("aside");
        fs::create_dir(&aside).map_err(failed_at(&aside))?;
        Ok(Self {
            directory: directory.to_owned(),
            registry: Registry::start(directory)?,
            runs: 0,
        })
    }

    /// Reads an image, and pushes it.
    pub(super) fn subject(&self, image: Image) -> Result<Subject> {
        let layout = image.layout();
        let reference = format!("oci:{}:{TAG}", layout.display());
        Ok(Subject {
            image,
            layers: layout::layers(&layout)?,
            counts: Counts::of(&layout)?,
            pushed: self
                .registry
                .push(&reference, &format!("{}:{TAG}", image.name()))?,
            layout,
            reference,
        })
    }

    /// Runs a pipeline once.
    pub(super) fn run(&mut self, subject: &Subject, pipeline: Pipeline) -> Result<Sample> {
        let scratch = self.directory.join("now");
        fs::create_dir(&scratch).map_err(failed_at(&scratch))?;
        let sample = measure(&pipeline.command(subject, &scratch)?, &self.directory)?;
        self.move_aside(&scratch)?;
        Ok(sample)
    }

    /// A disk is one file, whose removal costs the next run nothing.
    fn move_aside(&mut self, scratch: &Path) -> Result<()> {
        let disk = scratch.join("disk.ext4");
        match fs::remove_file(&disk) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed_at(&disk)(error));
            }
            _ => self.runs += 1,
        }
        let aside = self.directory.join("aside").join(self.runs.to_string());
        fs::rename(scratch, &aside).map_err(failed_at(&aside))
    }
}

fn build(reference: &str, options: &[&str], directory: &Path) -> Command {
    let mut build = banger(directory);
    build
        .args(["--json", "rootfs", "build", reference])
        .args(options)
        .arg("--output")
        .arg(directory.join("disk.ext4"));
    build
}

fn skopeo(subject: &Subject, directory: &Path) -> Command {
    let options = ["copy", "--src-tls-verify=false", "--insecure-policy"];
    let mut skopeo = command("skopeo", workspace());
    skopeo
        .args(options)
        .arg(format!("docker://{}", subject.pushed))
        .arg(format!("dir:{}", directory.join("fetched").display()));
    skopeo
}

fn shell(script: &str, subject: &Subject, directory: &Path) -> Command {
    let mut shell = command("sh", directory);
    shell
        .args(["-euc", script, "sh"])
        .args(&subject.layers)
        .env("image", format!("{}:{TAG}", subject.layout.display()))
        .env("inodes", subject.inodes().to_string())
        .env("size", format!("{}k", subject.kibibytes()));
    shell
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for pipeline in Pipeline::ALL {
            let value = pipeline.to_possible_value().unwrap();
            assert_eq!(value.get_name(), pipeline.name());
        }
    }

    #[test]
    fn only_what_knows_zstd_reads_it() {
        assert!(Pipeline::Registry.suits(Image::MediumZstd));
        assert!(!Pipeline::Umoci.suits(Image::MediumZstd));
        assert!(Pipeline::Umoci.suits(Image::Medium));
    }
}
