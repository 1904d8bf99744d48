//! Images in archives: as skopeo and tar write them, and hostile ones.

use std::{fs, process::Command};

use banger_core::{
    ErrorKind,
    domain::{Bytes, Digest},
    oci::{ImageSources as _, SourceError, SourceOptions},
    progress::NoProgress,
    rootfs::{BuildError, BuildRequest, Ext4RootfsBuilder, build_from_source},
};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;
use tempfile::TempDir;

use super::world::{amd64, options};

/// A scratch directory with archives and the disks built of them.
pub(crate) struct Bench {
    scratch: TempDir,
    pub(crate) options: SourceOptions,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let options = options(Utf8Path::from_path(scratch.path()).unwrap());
        Self { scratch, options }
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.scratch.path()).unwrap().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// The disk of an image, byte for byte.
    pub(crate) async fn disk(&self, reference: &str) -> Result<Digest, BuildError> {
        let output = self.path("disk");
        let request = BuildRequest {
            reference: reference.parse().unwrap(),
            platform: amd64(),
            output: output.clone(),
            size: Some(Bytes::from_mib(64)),
            journal: true,
            resources: banger_core::rootfs::RootfsResources::default(),
            limits: banger_core::rootfs::RootfsLimits::default(),
        };
        let builder = std::sync::Arc::new(Ext4RootfsBuilder);
        build_from_source(&self.options, builder, request, &NoProgress).await?;
        let digest = Digest::of(&fs::read(&output).unwrap());
        fs::remove_file(&output).unwrap();
        Ok(digest)
    }

    /// Why an image cannot be used; nothing is left behind.
    async fn refusal(&self, reference: &str) -> BuildError {
        let error = self.disk(reference).await.unwrap_err();
        assert!(!self.path("disk").exists() && !self.path("disk.partial").exists());
        self.nothing_is_cached();
        error
    }

    pub(crate) fn nothing_is_cached(&self) {
        let blobs = self.options.directories.blobs();
        let entries = fs::read_dir(blobs).map_or(0, Iterator::count);
        assert_eq!(entries, 0, "something was left in the cache");
    }

    /// A layout `layout:latest` of two layers, of which the second is compressed.
    fn layout(&self) -> String {
        let layers = layers();
        let blobs = self.path("layout/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |media_type: &str, bytes: &[u8]| {
            let digest = Digest::of(bytes);
            fs::write(blobs.join(digest.to_hex()), bytes).unwrap();
            let (digest, size) = (digest.to_string(), bytes.len());
            json!({"mediaType": media_type, "digest": digest, "size": size})
        };
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids":
                layers.iter().map(|layer| Digest::of(layer).to_string()).collect::<Vec<_>>()},
        });
        let kind = |name: &str| format!("application/vnd.oci.image.{name}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
            "config": put(&kind("config.v1+json"), config.to_string().as_bytes()),
            "layers": [
                put(&kind("layer.v1.tar"), &layers[0]),
                put(&kind("layer.v1.tar+gzip"), &gzip(&layers[1])),
            ],
        });
        let manifest = put(&kind("manifest.v1+json"), manifest.to_string().as_bytes());
        let mut tagged = manifest;
        tagged["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [tagged]});
        self.put("layout/index.json", index.to_string().as_bytes());
        self.put("layout/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        format!("oci:{}:latest", self.path("layout"))
    }
}

/// Runs a tool.
#[expect(clippy::disallowed_methods, reason = "a tool that ends by itself")]
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is needed: use `cargo xtask test`"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

fn skopeo(from: &str, to: &str) {
    let copy = ["--insecure-policy", "copy", "--quiet", from, to];
    run("skopeo", &copy);
}

/// The layers of the layout, lowest first.
fn layers() -> [Vec<u8>; 2] {
    [
        tree(&[("bin/sh", b"a shell"), ("etc/hostname", b"lower")]),
        tree(&[("etc/hostname", b"upper"), ("big", &vec![7; 300_000])]),
    ]
}

/// A tar stream of these files.
pub(crate) fn tree(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn archives_of_skopeo_give_the_layouts_disk() {
    let bench = Bench::new();
    let layout = bench.layout();
    let expected = bench.disk(&layout).await.unwrap();
    for (written, read) in [
        ("oci-archive:A:latest", "oci-archive:A:latest"),
        ("oci-archive:B", "oci-archive:B"),
        ("oci-archive:C:h.io/x/y:1", "oci-archive:C:h.io/x/y:1"),
        ("docker-archive:D:debian:12", "docker-archive:D:debian:12"),
        ("docker-archive:E", "docker-archive:E"),
        ("docker-archive:F:a.io/b:1", "docker-archive:F:@0"),
    ] {
        let beneath = |text: &str| text.replacen(':', &format!(":{}", bench.path("")), 1);
        skopeo(&layout, &beneath(written));
        let disk = bench.disk(&beneath(read)).await;
        let disk = disk.unwrap_or_else(|error| panic!("{read}: {error:?}"));
        assert_eq!(disk, expected, "{read}");
    }
    bench.nothing_is_cached();
}

#[tokio::test]
async fn archives_may_be_compressed_and_written_by_tar() {
    let bench = Bench::new();
    let layout = bench.layout();
    let expected = bench.disk(&layout).await.unwrap();
    let directory = bench.path("layout");
    for (name, options) in [
        ("plain.tar", &["--format=pax"][..]),
        ("gzip.tar.gz", &["--gzip"]),
        ("zstd.tar.zst", &["--zstd"]),
    ] {
        let archive = bench.path(name);
        let arguments = ["-C", directory.as_str(), "-cf", archive.as_str(), "."];
        run("tar", &[options, &arguments].concat());
        let disk = bench.disk(&format!("oci-archive:{archive}")).await.unwrap();
        assert_eq!(disk, expected, "{name}");
    }
    let docker = bench.path("docker.tar");
    skopeo(&layout, &format!("docker-archive:{docker}"));
    run("gzip", &[docker.as_str()]);
    let disk = bench.disk(&format!("docker-archive:{docker}.gz")).await;
    assert_eq!(disk.unwrap(), expected);
    bench.nothing_is_cached();
    let packed = bench.path("plain.tar.xz");
    bench.put("plain.tar.xz", b"\xfd7zXZ\0 and so on");
    let error = bench.refusal(&format!("oci-archive:{packed}")).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        chain(&error).contains("xz; decompress it first"),
        "{}",
        chain(&error)
    );
}

/// Layers as docker itself has written them through the years.
#[tokio::test]
async fn docker_archives_of_every_age_give_the_same_disk() {
    let bench = Bench::new();
    let layout = bench.layout();
    let expected = bench.disk(&layout).await.unwrap();
    let layers = layers();
    let packed = [gzip(&layers[0]), zstd::encode_all(&*layers[1], 1).unwrap()];
    let named = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).to_hex());
    let ages = [
        (
            "old.tar",
            ["a/layer.tar".to_owned(), "b/layer.tar".to_owned()],
            &layers,
        ),
        ("new.tar", [named(&packed[0]), named(&packed[1])], &packed),
        (
            "others.tar",
            ["1.tar.gz".to_owned(), "2.tar.gz".to_owned()],
            &packed,
        ),
    ];
    for (name, names, blobs) in ages {
        let config = config_of(&layers);
        let stated = format!("{}.json", Digest::of(&config).to_hex());
        let manifest = json!([{"Config": stated, "RepoTags": ["x:1"], "Layers": names}]);
        let archive = tree(&[
            (&names[0], &blobs[0]),
            (&names[1], &blobs[1]),
            (&stated, &config),
            ("manifest.json", manifest.to_string().as_bytes()),
        ]);
        bench.put(name, &archive);
        let disk = bench
            .disk(&format!("docker-archive:{}", bench.path(name)))
            .await;
        let disk = disk.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        assert_eq!(disk, expected, "{name}");
    }
}

fn config_of(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string()
    .into_bytes()
}

/// `docker save` once wrote a layer that images share as a link.
#[tokio::test]
async fn shared_layers_may_be_links() {
    let bench = Bench::new();
    let layer = tree(&[("bin/sh", b"a shell")]);
    let layers = [layer.clone(), layer.clone()];
    let config = config_of(&layers);
    let manifest =
        json!([{"Config": "c.json", "RepoTags": null, "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    let disk = async |link: Option<&str>| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut put = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        put("a/layer.tar", &layer);
        put("c.json", &config);
        put("manifest.json", manifest.to_string().as_bytes());
        match link {
            None => put("b/layer.tar", &layer),
            Some(target) => {
                let hard = target.starts_with('a');
                let mut header = tar::Header::new_gnu();
                header.set_size(0);
                header.set_entry_type(if hard {
                    tar::EntryType::Link
                } else {
                    tar::EntryType::Symlink
                });
                builder
                    .append_link(&mut header, "b/layer.tar", target)
                    .unwrap();
            }
        }
        bench.put("linked.tar", &builder.into_inner().unwrap());
        bench
            .disk(&format!("docker-archive:{}", bench.path("linked.tar")))
            .await
    };
    let expected = disk(None).await.unwrap();
    for target in ["../a/layer.tar", "a/layer.tar"] {
        assert_eq!(disk(Some(target)).await.unwrap(), expected, "{target}");
    }
    for target in [
        "../b/layer.tar",
        "../../a/layer.tar",
        "/etc/passwd",
        "../none",
    ] {
        let error = disk(Some(target)).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "{target}: {}",
            chain(&error)
        );
        assert!(
            chain(&error).contains("b/layer.tar"),
            "{target}: {}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn hostile_archives_are_refused() {
    let bench = Bench::new();
    let layout = bench.layout();
    let good = bench.path("good.tar");
    skopeo(&layout, &format!("oci-archive:{good}:latest"));
    let good = fs::read(good).unwrap();
    let mut huge = tree(&[("x", b"")]);
    huge[124..136].copy_from_slice(b"77777777777\0");
    checksum(&mut huge);
    let mut claim = tree(&[("x", b"")]);
    claim[156] = b'x';
    claim[124..136].copy_from_slice(b"77777777777\0");
    checksum(&mut claim);
    let cases: [(&str, Vec<u8>, ErrorKind); 9] = [
        ("noise", vec![b'x'; 4096], ErrorKind::Corrupt),
        ("nothing", Vec::new(), ErrorKind::Corrupt),
        ("cut", good[..good.len() / 2].to_vec(), ErrorKind::Corrupt),
        ("huge member", huge, ErrorKind::Corrupt),
        ("huge header", claim, ErrorKind::ResourceExhausted),
        (
            "parent",
            renamed(&tree(&[("aa/evil", b"x")]), "../evil"),
            ErrorKind::Corrupt,
        ),
        (
            "no index",
            tree(&[("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)]),
            ErrorKind::NotFound,
        ),
        ("cut gzip", gzip(&good)[..700].to_vec(), ErrorKind::Corrupt),
        (
            "bomb",
            zstd::encode_all(&*vec![0; 100 << 20], 1).unwrap(),
            ErrorKind::ResourceExhausted,
        ),
    ];
    for (name, bytes, kind) in cases {
        bench.put("bad.tar", &bytes);
        let error = bench
            .refusal(&format!("oci-archive:{}", bench.path("bad.tar")))
            .await;
        assert_eq!(error.kind(), kind, "{name}: {}", chain(&error));
        assert!(
            chain(&error).contains("bad.tar"),
            "{name}: {}",
            chain(&error)
        );
        assert!(!chain(&error).contains('\n'), "{name}: {}", chain(&error));
    }
}

/// Names and content of members.
type Members<'a> = &'a [(&'a str, &'a [u8])];

#[tokio::test]
async fn docker_archives_that_lie_are_refused() {
    let bench = Bench::new();
    let layer = tree(&[("bin/sh", b"a shell")]);
    let fake = tree(&[("bin/sh", b"no shell")]);
    let packed = gzip(&layer);
    let config = config_of(std::slice::from_ref(&layer));
    let usual = format!("{}.json", Digest::of(&config).to_hex());
    let wrong = format!("blobs/sha256/{}", Digest::of(b"other").to_hex());
    let (usual, wrong) = (usual.as_str(), wrong.as_str());
    let good: &[(&str, &[u8])] = &[(usual, &config), ("l", &layer)];
    let other_config = config_of(&[layer.clone(), layer.clone()]);
    let cases: [(&str, &str, Members<'_>); 9] = [
        ("c.json", "l", &[("c.json", &other_config), ("l", &layer)]),
        (usual, "l", &[]),
        (usual, "l", &good[..1]),
        (usual, "l", &good[1..]),
        (wrong, "l", &[(wrong, &config), ("l", &layer)]),
        (usual, "l", &[(usual, &config), ("l", &fake)]),
        (usual, wrong, &[(usual, &config), (wrong, &packed)]),
        (usual, wrong, &[(usual, &config), (wrong, &layer)]),
        ("../../etc/passwd", "l", good),
    ];
    let archive = |config: &str, layer: &str, members: Members<'_>| {
        let manifest = json!([{"Config": config, "RepoTags": ["x:1"], "Layers": [layer]}]);
        let manifest = manifest.to_string();
        tree(&[members, &[("manifest.json", manifest.as_bytes())]].concat())
    };
    let reference = format!("docker-archive:{}", bench.path("some.tar"));
    bench.put("some.tar", &archive(usual, "l", good));
    bench.disk(&reference).await.unwrap();
    for (number, (config, layer, members)) in cases.into_iter().enumerate() {
        bench.put("some.tar", &archive(config, layer, members));
        let error = bench.refusal(&reference).await;
        let text = chain(&error);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "case {number}: {text}");
    }
    bench.put("some.tar", &tree(good));
    let text = chain(&bench.refusal(&reference).await);
    assert!(text.contains("no manifest.json"), "{text}");
}

#[tokio::test]
async fn images_that_are_not_there_are_told_with_those_there_are() {
    let bench = Bench::new();
    let layout = bench.layout();
    skopeo(
        &layout,
        &format!("docker-archive:{}:debian:12", bench.path("d.tar")),
    );
    skopeo(&layout, &format!("oci-archive:{}:one", bench.path("o.tar")));
    for (reference, kind, told) in [
        (
            format!("docker-archive:{}:debian:13", bench.path("d.tar")),
            ErrorKind::NotFound,
            "debian:12",
        ),
        (
            format!("docker-archive:{}:@1", bench.path("d.tar")),
            ErrorKind::NotFound,
            "debian:12",
        ),
        (
            format!("oci-archive:{}:two", bench.path("o.tar")),
            ErrorKind::NotFound,
            "the tag one",
        ),
        (
            format!("oci-archive:{}", bench.path("none")),
            ErrorKind::NotFound,
            "does not exist",
        ),
        (
            format!("oci-archive:{}", bench.path("layout")),
            ErrorKind::Unsupported,
            "not a regular file",
        ),
    ] {
        let source = bench.options.open(&reference.parse().unwrap()).unwrap();
        let error: SourceError = source.resolve(&amd64()).await.unwrap_err();
        let text = chain(&error);
        assert_eq!(error.kind(), kind, "{reference}: {text}");
        assert!(text.contains(told), "{reference}: {text}");
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The first header with another name of at most its length.
fn renamed(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive = archive.to_vec();
    archive[..100].fill(0);
    archive[..name.len()].copy_from_slice(name.as_bytes());
    checksum(&mut archive);
    archive
}

/// Makes the first header's checksum right.
fn checksum(archive: &mut [u8]) {
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().copied().map(u32::from).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
