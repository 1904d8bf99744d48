//! Bundles, opened and unpacked: any bytes, any members, and right bundles in
//! which something was changed.
#![no_main]

mod tar_member;
mod tar_stream;

use std::{collections::BTreeMap, fs, sync::OnceLock};

use arbitrary::Arbitrary;
use banger_core::{
    bundle::{BundleReference, FetchLimits, Fetcher, Location, Manifest, Opened},
    directories::Directories,
    domain::{Bytes, Digest},
    oci::SourceOptions,
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use tar_member::member;
use tar_stream::{Piece, render};

const LIMIT: Bytes = Bytes::from_mib(64);
const MODULES: [&str; 4] = ["modules/a.ko", "modules/d/b.ko", "modules/d", "modules/a"];

#[derive(Arbitrary, Debug)]
enum Input {
    /// The file as it is.
    Raw(Vec<u8>),
    /// What is compressed.
    Stream(Vec<u8>),
    Members(Vec<Piece>),
    Right(Right),
}

/// A right bundle, but for what its changes do.
#[derive(Arbitrary, Debug)]
struct Right {
    is_image: bool,
    text: String,
    others: Vec<(Name, Content)>,
    changes: Vec<Change>,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Kernel,
    Initrd,
    Module(u8),
    Any(String),
}

#[derive(Arbitrary, Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// Zeros, and a byte behind them.
    Hole(u16, u8),
}

#[derive(Arbitrary, Debug)]
enum Change {
    /// A byte of the manifest, of the tar stream, of the file.
    Manifest(u16, u8),
    Stream(u16, u8),
    File(u16, u8),
    /// The length of the stream, and of the file.
    StreamEnd(u16),
    FileEnd(u16),
    /// Bytes behind the stream, and behind the file.
    StreamTrailer(Vec<u8>),
    FileTrailer(Vec<u8>),
    /// A member at the end.
    Member(Name, Content),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Kernel => "vmlinux",
            Self::Initrd => "initrd.img",
            Self::Module(number) => MODULES[usize::from(*number) % MODULES.len()],
            Self::Any(text) => text,
        }
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Hole(length, last) => {
                let mut bytes = vec![0; usize::from(*length)];
                bytes.push(*last);
                bytes
            }
        }
    }
}

impl Right {
    /// The files, of which no two have one name.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let own = if self.is_image {
            "rootfs.ext4"
        } else {
            "vmlinux"
        };
        let mut files = vec![(own.to_owned(), vec![b'x'; 5000])];
        if self.is_image && !self.others.is_empty() {
            files.push(("vmlinux".to_owned(), b"kernel".to_vec()));
        }
        for (name, content) in &self.others {
            let name = name.text();
            if name.len() <= 100 && files.iter().all(|(there, _)| there != name) {
                files.push((name.to_owned(), content.bytes()));
            }
        }
        files
    }

    fn manifest(&self, files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let files = files.iter().map(|(path, content)| {
            let sha256 = Digest::of(content).to_hex();
            serde_json::json!({"path": path, "size": content.len(), "sha256": sha256})
        });
        let mut manifest = serde_json::json!({
            "format": 1,
            "name": "golden",
            "architecture": "x86_64",
            "files": files.collect::<Vec<_>>(),
        });
        if self.is_image {
            manifest["kind"] = "image".into();
            manifest["run_config"] = serde_json::json!({
                "entrypoint": [], "cmd": [self.text], "env": [], "user": "",
                "working_directory": "",
            });
        } else {
            manifest["kind"] = "kernel".into();
            manifest["version"] = "6.1".into();
        }
        let mut bytes = serde_json::to_vec(&manifest).unwrap();
        for change in &self.changes {
            if let Change::Manifest(at, byte) = change {
                put(&mut bytes, *at, *byte);
            }
        }
        bytes
    }

    fn stream(&self) -> Vec<u8> {
        let files = self.files();
        let mut stream = member("manifest.json", &self.manifest(&files));
        for (name, content) in &files {
            stream.extend(member(name, content));
        }
        for change in &self.changes {
            match change {
                Change::Member(name, content) if name.text().len() <= 100 => {
                    stream.extend(member(name.text(), &content.bytes()));
                }
                Change::StreamEnd(end) => stream.truncate(usize::from(*end)),
                Change::Stream(at, byte) => put(&mut stream, *at, *byte),
                _ => {}
            }
        }
        stream.resize(stream.len() + 1024, 0);
        let trailers = self.changes.iter().filter_map(|change| match change {
            Change::StreamTrailer(bytes) => Some(bytes),
            _ => None,
        });
        stream.extend(trailers.flatten());
        stream
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = compress(&self.stream());
        for change in &self.changes {
            match change {
                Change::File(at, byte) => put(&mut bytes, *at, *byte),
                Change::FileEnd(end) => bytes.truncate(usize::from(*end)),
                Change::FileTrailer(trailer) => bytes.extend(trailer),
                _ => {}
            }
        }
        bytes
    }

    /// Whether it must unpack.
    fn is_sound(&self) -> bool {
        let is_usual = |(name, _): &(Name, Content)| {
            // a file cannot be a directory too
            let is_one = |number: &u8| usize::from(*number) % MODULES.len() < 2;
            match name {
                Name::Module(number) => is_one(number),
                Name::Any(_) => false,
                Name::Kernel | Name::Initrd => true,
            }
        };
        self.changes.is_empty() && self.others.iter().all(is_usual)
    }
}

fn put(bytes: &mut [u8], at: u16, byte: u8) {
    if let Some(there) = bytes.get_mut(usize::from(at)) {
        *there = byte;
    }
}

fn compress(stream: &[u8]) -> Vec<u8> {
    zstd::encode_all(stream, 1).unwrap()
}

impl Input {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Stream(stream) => compress(stream),
            Self::Members(pieces) => compress(&render(pieces)),
            Self::Right(right) => right.bytes(),
        }
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap()
    })
}

fn open(scratch: &Utf8Path, file: &Utf8Path) -> Option<Opened> {
    let directories = Directories {
        state: scratch.join("state"),
        cache: scratch.join("cache"),
        runtime: scratch.join("run"),
    };
    let limits = FetchLimits {
        bundle: LIMIT,
        unpacked: LIMIT,
    };
    let reference = BundleReference {
        location: Location::File(file.to_owned()),
        digest: None,
    };
    let fetcher = Fetcher::new(SourceOptions::new(directories), limits);
    let opened = runtime().block_on(fetcher.open(&reference, None, &NoProgress));
    opened.ok()
}

/// Every file below a directory, by its path there.
fn files_below(root: &Utf8Path) -> BTreeMap<String, Utf8PathBuf> {
    let mut files = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in directory.read_dir_utf8().unwrap() {
            let path = entry.unwrap().into_path();
            let kind = path.symlink_metadata().unwrap().file_type();
            assert!(kind.is_dir() || kind.is_file(), "{path} is something else");
            if kind.is_dir() {
                pending.push(path);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_string(), path);
            }
        }
    }
    files
}

/// What lies in `directory` is what the manifest lists; once all was checked,
/// byte for byte.
fn check(manifest: &Manifest, directory: &Utf8Path, is_whole: bool) {
    let files = files_below(directory);
    for path in files.keys() {
        let is_listed = |listed: &String| listed == path;
        let mut listed = manifest.files.iter().map(|file| file.path.to_string());
        assert!(listed.any(|one| is_listed(&one)), "{path} is not listed");
    }
    if is_whole {
        assert_eq!(files.len(), manifest.files.len());
        for file in &manifest.files {
            let bytes = fs::read(&files[&file.path.to_string()]).unwrap();
            assert_eq!(bytes.len() as u64, file.size);
            assert_eq!(Digest::of(&bytes), file.sha256);
        }
    }
}

fuzz_target!(|input: Input| {
    let scratch = Utf8PathBuf::from(format!("/dev/shm/banger-fuzz-{}", std::process::id()));
    let directory = scratch.join("unpacked");
    fs::create_dir_all(&directory).unwrap();
    let file = scratch.join("bundle");
    let bytes = input.bytes();
    fs::write(&file, &bytes).unwrap();
    let opened = open(&scratch, &file);
    let unpacked = opened.as_ref().map(|opened| {
        assert!(opened.manifest().unpacked() <= LIMIT);
        let cancelled = CancellationToken::new();
        let unpacked = opened.unpack(&directory, |_| true, &NoProgress, &cancelled);
        check(opened.manifest(), &directory, unpacked.is_ok());
        unpacked
    });
    if let Some(Ok(unpacked)) = &unpacked {
        assert_eq!(unpacked.sha256, Digest::of(&bytes));
    }
    if let Input::Right(right) = &input
        && right.is_sound()
    {
        unpacked
            .expect("its manifest is right")
            .expect("it is right");
    }
    fs::remove_dir_all(&directory).unwrap();
});
