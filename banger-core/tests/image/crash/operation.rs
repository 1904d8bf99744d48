//! The operations that are killed: what is there before them, what they do,
//! and how one tells whether they did.

use std::{collections::BTreeMap, fs, time::Duration};

use banger_core::{
    bundle::Written,
    domain::{Bytes, NetworkMode},
    host_fs::copy_file,
    image::{
        BundleImageRequest, ImageManager as _, LoadRequest, LoadSource, PullRequest,
        RegisterRequest, SaveFormat, SaveOutput, SaveRequest,
        build::{
            BuildContainerfileRequest, BuildImageRequest, BuildMachine, ContainerBuilder,
            ImageBuilder as _, Provision,
        },
    },
    kernel::{KernelResolver as _, KernelSelection, KernelSource},
    progress::NoProgress,
};
use camino::Utf8Path;

use super::{super::doubles::vmlinux, bench::Bench, registry::Content};

const DEADLINE: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Pull,
    Download,
    Register,
    Promote,
    Save,
    Bundle,
    Load,
    BuildFromImage,
    BuildContainerfile,
    Delete,
    ImportKernel,
    LoadKernel,
    PullKernel,
    ReplaceKernel,
    BundleKernel,
    DeleteKernel,
}

/// Names of images and of kernels.
type Names<'a> = (&'a [&'a str], &'a [&'a str]);

impl Operation {
    /// The operations, and the fewest steps that each has.
    pub(crate) const ALL: [(Self, usize); 16] = [
        (Self::BuildFromImage, 30),
        (Self::BuildContainerfile, 15),
        (Self::Download, 15),
        (Self::Pull, 10),
        (Self::Register, 2),
        (Self::Promote, 10),
        (Self::Save, 4),
        (Self::Bundle, 5),
        (Self::Load, 10),
        (Self::Delete, 4),
        (Self::ImportKernel, 10),
        (Self::LoadKernel, 10),
        (Self::PullKernel, 10),
        (Self::ReplaceKernel, 15),
        (Self::BundleKernel, 5),
        (Self::DeleteKernel, 5),
    ];

    /// Whether it makes the file `out`.
    pub(crate) const fn makes_a_file(self) -> bool {
        matches!(self, Self::Save | Self::Bundle | Self::BundleKernel)
    }

    /// What has a record before and after.
    const fn records(self) -> (Names<'static>, Names<'static>) {
        match self {
            Self::Pull | Self::Load => ((&[], &[]), (&["a-b"], &[])),
            Self::Download => ((&[], &[]), (&["far"], &[])),
            Self::Register => ((&[], &[]), (&["mine"], &[])),
            Self::Promote => ((&["mine"], &[]), (&["mine"], &[])),
            Self::Save | Self::Bundle => ((&["a-b"], &[]), (&["a-b"], &[])),
            Self::BuildFromImage => ((&["a-b"], &[]), (&["a-b", "built"], &[])),
            Self::BuildContainerfile => ((&[], &[]), (&["built"], &[])),
            Self::Delete => ((&["a-b"], &[]), (&[], &[])),
            Self::ImportKernel | Self::LoadKernel | Self::PullKernel => {
                ((&[], &[]), (&[], &["small"]))
            }
            Self::ReplaceKernel | Self::BundleKernel => ((&[], &["small"]), (&[], &["small"])),
            Self::DeleteKernel => ((&[], &["small"]), (&[], &[])),
        }
    }

    /// Makes what is there before.
    pub(crate) async fn prepare(self, bench: &Bench) {
        match self {
            Self::Pull | Self::Download => {}
            Self::BuildContainerfile => bench.add_builder(&Content::new()),
            Self::Save | Self::Bundle | Self::Delete | Self::BuildFromImage => pull(bench).await,
            Self::Register => disk_of_the_user(bench).await,
            Self::Promote => {
                disk_of_the_user(bench).await;
                register(bench).await;
            }
            Self::Load => {
                pull(bench).await;
                bundle(bench, &bench.root.join("bundle")).await;
                delete(bench).await;
            }
            Self::ImportKernel => write_kernel(bench, "small"),
            Self::BundleKernel | Self::DeleteKernel => {
                write_kernel(bench, "small");
                import(bench, "small").await;
            }
            Self::LoadKernel | Self::PullKernel => offer_kernel(bench).await,
            Self::ReplaceKernel => {
                offer_kernel(bench).await;
                write_kernel(bench, "former");
                import(bench, "former").await;
            }
        }
    }

    pub(crate) async fn carry_out(self, bench: &Bench) {
        let (world, out) = (&bench.world, bench.root.join("out"));
        match self {
            Self::Pull => pull(bench).await,
            Self::Download => download(bench).await,
            Self::Register => register(bench).await,
            Self::Promote => drop(world.manager.promote(&"mine".into()).await.unwrap()),
            Self::Save => save(bench, &out).await,
            Self::Bundle => bundle(bench, &out).await,
            Self::Load => load(bench).await,
            Self::BuildFromImage => build_from_image(bench).await,
            Self::BuildContainerfile => build_containerfile(bench).await,
            Self::Delete => delete(bench).await,
            Self::ImportKernel => import(bench, "small").await,
            Self::LoadKernel => load_kernel(bench).await,
            Self::PullKernel => pull_kernel(bench, false).await,
            Self::ReplaceKernel => pull_kernel(bench, true).await,
            Self::BundleKernel => {
                bundle_kernel(bench, &out).await;
            }
            Self::DeleteKernel => delete_kernel(bench).await,
        }
    }

    /// Whether it happened. A state between the two fails.
    pub(crate) async fn is_done(self, bench: &Bench) -> bool {
        let (images, kernels) = (bench.images().await, bench.kernels().await);
        let image_names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
        let kernel_names: Vec<&str> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        let found: Names<'_> = (&image_names, &kernel_names);
        let (before, after) = self.records();
        assert!(found == before || found == after, "{self:?}: {found:?}");
        match self {
            Self::Promote => images[0].is_managed(),
            Self::ReplaceKernel => match kernels[0].version.as_str() {
                "6.1.0-small" => true,
                "6.1.0-former" => false,
                version => panic!("a kernel {version}"),
            },
            _ if self.makes_a_file() => bench.root.join("out").exists(),
            _ => found == after,
        }
    }
}

async fn pull(bench: &Bench) {
    pull_as(bench, "localhost/a:b", "a-b").await;
}

async fn download(bench: &Bench) {
    let registry = fs::read_to_string(bench.root.join("registry")).unwrap();
    pull_as(bench, &format!("{registry}/far/image:1"), "far").await;
}

async fn pull_as(bench: &Bench, reference: &str, name: &str) {
    let request = PullRequest {
        reference: reference.parse().unwrap(),
        name: Some(name.parse().unwrap()),
        kernel: KernelSelection::default(),
        size: Some(Bytes::from_mib(16)),
        containerfile: None,
    };
    let pulled = bench.world.manager.pull(request, &NoProgress).await;
    pulled.unwrap();
}

/// Leaves nothing but a disk that belongs to nobody.
async fn disk_of_the_user(bench: &Bench) {
    pull(bench).await;
    let image = bench.world.manager.show(&"a-b".into()).await.unwrap();
    copy_file(&image.rootfs, &bench.root.join("disk.ext4")).unwrap();
    delete(bench).await;
}

async fn register(bench: &Bench) {
    let request = RegisterRequest {
        name: "mine".parse().unwrap(),
        rootfs: bench.root.join("disk.ext4"),
        kernel: KernelSelection::default(),
    };
    bench.world.manager.register(request).await.unwrap();
}

async fn save(bench: &Bench, output: &Utf8Path) {
    let request = SaveRequest {
        format: SaveFormat::OciArchive,
        output: SaveOutput::File(output.to_owned()),
    };
    let saved = bench.world.manager.save(&"a-b".into(), request).await;
    saved.unwrap();
}

async fn bundle(bench: &Bench, target: &Utf8Path) {
    let request = BundleImageRequest {
        image: "a-b".into(),
        target: target.to_owned().into(),
        with_kernel: true,
    };
    let bundled = bench.world.manager.bundle(request, &NoProgress).await;
    bundled.unwrap();
}

async fn load(bench: &Bench) {
    let reference = format!("file:{}", bench.root.join("bundle"));
    let request = LoadRequest {
        source: LoadSource::Bundle(reference.parse().unwrap()),
        name: None,
        kernel: KernelSelection::default(),
    };
    bench
        .world
        .manager
        .load(request, &NoProgress)
        .await
        .unwrap();
}

async fn delete(bench: &Bench) {
    bench.world.manager.delete(&"a-b".into()).await.unwrap();
}

async fn build_from_image(bench: &Bench) {
    let request = BuildImageRequest {
        base: "a-b".into(),
        name: "built".parse().unwrap(),
        source: Provision {
            commands: vec!["true".into()],
            ..Provision::default()
        }
        .into(),
        labels: BTreeMap::new(),
        size: Some(Bytes::from_mib(32)),
        machine: BuildMachine {
            vcpus: 1,
            memory: Bytes::from_mib(64),
            backend: None,
            network: NetworkMode::None,
        },
        deadline: DEADLINE,
    };
    let built = bench.builder.build_from_image(request, &NoProgress).await;
    built.unwrap();
}

async fn build_containerfile(bench: &Bench) {
    let request = BuildContainerfileRequest {
        containerfile: None,
        context: bench.root.join("context"),
        name: "built".parse().unwrap(),
        kernel: KernelSelection::default(),
        size: Some(Bytes::from_mib(16)),
        program: Some(ContainerBuilder::Buildah),
        arguments: Vec::new(),
        target: None,
        deadline: DEADLINE,
    };
    let built = bench
        .builder
        .build_containerfile(request, &NoProgress)
        .await;
    built.unwrap();
}

/// Writes a kernel of that release to a directory of that name.
fn write_kernel(bench: &Bench, release: &str) {
    let directory = bench.root.join(release);
    let modules = directory.join(format!("lib/modules/6.1.0-{release}/kernel"));
    fs::create_dir_all(&modules).unwrap();
    fs::write(directory.join("vmlinux"), vmlinux(release)).unwrap();
    fs::write(modules.join("a.ko"), "module").unwrap();
    fs::write(directory.join("initrd.img"), "initrd").unwrap();
}

async fn import(bench: &Bench, directory: &str) {
    let source = format!("dir:{}", bench.root.join(directory));
    import_source(bench, &source).await;
}

async fn load_kernel(bench: &Bench) {
    let source = format!("file:{}", bench.root.join("kernel.tar.zst"));
    import_source(bench, &source).await;
}

async fn import_source(bench: &Bench, source: &str) {
    let source: KernelSource = source.parse().unwrap();
    let name = Some("small".parse().unwrap());
    let imported = bench.kernels.import(&source, name, &NoProgress).await;
    imported.unwrap();
}

async fn bundle_kernel(bench: &Bench, target: &Utf8Path) -> Written {
    let name = "small".parse().unwrap();
    let target = target.to_owned().into();
    let bundled = bench.kernels.bundle(&name, target, &NoProgress);
    bundled.await.unwrap()
}

async fn delete_kernel(bench: &Bench) {
    bench
        .kernels
        .delete(&"small".parse().unwrap())
        .await
        .unwrap();
}

async fn pull_kernel(bench: &Bench, force: bool) {
    let name = "small".parse().unwrap();
    let pulled = bench.kernels.pull(&name, force, &NoProgress).await;
    pulled.unwrap();
}

/// Puts a kernel into a bundle, and that into a catalog.
async fn offer_kernel(bench: &Bench) {
    write_kernel(bench, "small");
    import(bench, "small").await;
    let written = bundle_kernel(bench, &bench.root.join("kernel.tar.zst")).await;
    delete_kernel(bench).await;
    let document = serde_json::json!({
        "format": 1,
        "kernels": [{
            "name": "small", "architecture": std::env::consts::ARCH,
            "version": "6.1.0-small", "source": "kernel.tar.zst",
            "sha256": written.sha256.to_hex(), "size": written.size.get(),
        }],
    });
    fs::write(bench.root.join("catalog.json"), document.to_string()).unwrap();
}
