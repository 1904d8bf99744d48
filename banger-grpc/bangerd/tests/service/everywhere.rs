//! Streams that are cut after every frame there is, with the client crate.
//!
//! What comes over a connection that breaks is, byte for byte, what comes over one that
//! does not. `banger-grpc/tests/server/streams.rs` says which test here is for which
//! method.

use std::{fmt::Debug, fs, process::Command};

use banger_api::v1::{
    CreateVmRequest, DeleteVmRequest, ImportKernelRequest, PullImageRequest, VmChangeKind,
    watch_vms_response::Message as Told,
};
use banger_client::{Client, services::RemoteServices};
use banger_core::{
    catalog::Available,
    image::{DiskStream, ListImageFiles, ReadImageError, SaveFormat, SaveOutput, SaveRequest},
};
use camino::Utf8Path;

use super::{cut::BUDGET, cutter::Cutter, daemon::Daemon, foreign::sources};

/// Names in the image `names`, which are more than fit into some messages, and bytes of
/// the file in the image `bytes`.
const NAMES: u32 = 2000;
const BYTES: u32 = 400_000;
/// Machines that come and go while they are watched.
const MACHINES: usize = 20;

/// Does something over one connection that is cut after its first frame, over one that
/// is cut after its second, and so on, up to one that lasts. What comes of it is always
/// what comes of it without a cut; there are that many frames at least.
pub(super) async fn everywhere<T: PartialEq>(
    what: &str,
    daemon: &Daemon,
    least: u64,
    once: impl AsyncFn(Client) -> T,
) {
    let place = daemon.root.join("cut.sock");
    let cutter = Cutter::start(place.clone(), &daemon.socket());
    let direct = Client::connect(&daemon.socket(), BUDGET).unwrap();
    let whole = once(direct).await;
    let mut frames = 1;
    loop {
        cutter.cut(1, frames);
        let client = Client::connect(&cutter.socket, BUDGET).unwrap();
        let told = once(client).await;
        assert!(told == whole, "{what}, cut after frame {frames}");
        if cutter.cuts() == 0 {
            break;
        }
        frames += 1;
    }
    assert!(least <= frames, "{what}: {frames} frames are no stream");
    drop(cutter);
    fs::remove_file(place).unwrap();
}

async fn all<T: Debug>(stream: Result<DiskStream<T>, ReadImageError>) -> Vec<T> {
    let (mut stream, mut all) = (stream.unwrap(), Vec::new());
    while let Some(one) = stream.next().await.unwrap() {
        all.push(one);
    }
    all
}

/// Bytes that no compression makes less of, and in which one that is lost, doubled or
/// moved shows.
pub(super) fn noise(length: u32) -> Vec<u8> {
    let hashed = (0..length / 4).map(|one| one.wrapping_mul(0x9e37_79b1) ^ one.rotate_left(13));
    hashed.flat_map(u32::to_be_bytes).collect()
}

/// Makes an image of files.
pub(super) async fn image(daemon: &Daemon, client: &Client, name: &str, fill: impl Fn(&Utf8Path)) {
    let tree = daemon.root.join(name);
    fs::create_dir(&tree).unwrap();
    fill(&tree);
    let archive = daemon.root.join(format!("{name}.tar"));
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut tar = Command::new("tar");
    let made = tar.args(["-C", tree.as_str(), "-cf", archive.as_str(), "."]);
    assert!(made.status().unwrap().success());
    let pull = PullImageRequest {
        reference: format!("rootfs-tar:{archive}"),
        image_id: name.to_owned(),
        kernel: "kernels/linux".to_owned(),
        ..PullImageRequest::default()
    };
    client.change(pull).await.unwrap();
}

pub(super) async fn kernel(client: &Client) {
    let (source, _) = sources();
    let import = ImportKernelRequest {
        source,
        kernel_id: "linux".to_owned(),
        ..ImportKernelRequest::default()
    };
    client.change(import).await.unwrap();
}

/// A service with the images `names` and `bytes`.
async fn with_images() -> Daemon {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    kernel(&client).await;
    image(&daemon, &client, "names", |tree| {
        let stem = "n".repeat(80);
        for one in 0..NAMES {
            fs::write(tree.join(format!("{stem}-{one:05}")), []).unwrap();
        }
    })
    .await;
    image(&daemon, &client, "bytes", |tree| {
        fs::write(tree.join("noise"), noise(BYTES)).unwrap();
        fs::create_dir(tree.join("directory")).unwrap();
        fs::write(tree.join("directory/file"), "text").unwrap();
    })
    .await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_of_images_are_the_same_wherever_their_streams_are_cut() {
    let daemon = with_images().await;
    everywhere("ListImageFiles", &daemon, 30, async |client| {
        let images = RemoteServices::new(client).images;
        let everything = ListImageFiles {
            path: b"/".to_vec(),
            recursive: true,
            after: Vec::new(),
        };
        let listed = all(images.list_files(&"names".into(), everything).await).await;
        assert!(NAMES as usize <= listed.len());
        listed
    })
    .await;
    everywhere("DiffImages", &daemon, 30, async |client| {
        let images = RemoteServices::new(client).images;
        let (one, other) = ("bytes".into(), "names".into());
        let differing = all(images.diff(&one, &other, Vec::new()).await).await;
        assert!(NAMES as usize <= differing.len());
        differing
    })
    .await;
    everywhere("ReadImageFile", &daemon, 30, async |client| {
        let images = RemoteServices::new(client).images;
        let (image, path) = ("bytes".into(), b"/noise".to_vec());
        let file = images.read_file(&image, path, 0).await;
        let content = all(file.map(|file| file.content)).await.concat();
        assert!(content == noise(BYTES));
        content
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_images_are_the_same_wherever_their_streams_are_cut() {
    let daemon = with_images().await;
    let file = daemon.root.join("archive");
    for format in SaveFormat::ALL {
        let what = format!("SaveImage as {format:?}");
        everywhere(&what, &daemon, 30, async |client| {
            let request = SaveRequest {
                format,
                output: SaveOutput::File(file.clone()),
            };
            let images = RemoteServices::new(client).images;
            let saved = images.save(&"bytes".into(), request).await.unwrap();
            let written = fs::read(&file).unwrap();
            assert_eq!(saved.size.get(), written.len() as u64);
            fs::remove_file(&file).unwrap();
            (written, saved.digest)
        })
        .await;
    }
}

/// An entry of a catalog, longer than most.
fn entry(number: usize, source: &str) -> String {
    let description = "d".repeat(900);
    format!(
        r#"{{"name": "entry-{number}", "architecture": "x86_64", "description": "{description}", {source}}}"#
    )
}

/// What a catalog offers, with the words of what cannot be used.
fn said(available: Available) -> (Vec<banger_core::catalog::CatalogEntry>, Vec<String>) {
    let failures = available.failures.iter().map(ToString::to_string);
    let failures = failures.collect();
    (available.entries, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_are_the_same_wherever_their_streams_are_cut() {
    let mut daemon = Daemon::stopped();
    let configuration = daemon.root.join(".config/banger");
    fs::create_dir_all(&configuration).unwrap();
    let many = daemon.root.join("many.json");
    let broken = daemon.root.join("broken.json");
    let entries = |source: &str| {
        let entries: Vec<String> = (0..150).map(|one| entry(one, source)).collect();
        entries.join(",")
    };
    let bundle = format!(
        r#""source": "b.tar.zst", "sha256": "{}", "size": 1000"#,
        "0".repeat(64)
    );
    let document = format!(
        r#"{{"format": 1, "images": [{}], "kernels": [{}]}}"#,
        entries(&bundle),
        entries(r#""source": "apt:linux-image-cloud-amd64""#)
    );
    fs::write(&many, document).unwrap();
    fs::write(&broken, "{}").unwrap();
    let text = format!(
        "[[catalogs]]\nname = \"many\"\nsource = \"file:{many}\"\n\
         [[catalogs]]\nname = \"broken\"\nsource = \"file:{broken}\"\n"
    );
    fs::write(configuration.join("config.toml"), text).unwrap();
    daemon.again();

    everywhere("ListAvailableImages", &daemon, 15, async |client| {
        let told = said(RemoteServices::new(client).images.available().await);
        assert!(150 <= told.0.len() && told.1.len() == 1, "{:?}", told.1);
        told
    })
    .await;
    everywhere("ListAvailableKernels", &daemon, 15, async |client| {
        let told = said(RemoteServices::new(client).kernels.available().await);
        assert!(150 <= told.0.len() && told.1.len() == 1, "{:?}", told.1);
        told
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_once_wherever_watches_are_cut() {
    let daemon = with_images().await;
    let direct = Client::connect(&daemon.socket(), BUDGET).unwrap();
    let mut watch = direct.watch_vms("");
    while !matches!(watch.next().await.unwrap().message, Some(Told::Bookmark(_))) {}
    let token = watch.resume_token().to_owned();
    let mut last = String::new();
    for one in 0..MACHINES {
        let create = CreateVmRequest {
            image: "images/bytes".to_owned(),
            vm_id: format!("machine-{one}"),
            ..CreateVmRequest::default()
        };
        let made = direct.change(create).await.unwrap();
        let name = made.target.clone();
        last.clone_from(&name);
        let delete = DeleteVmRequest {
            name,
            ..DeleteVmRequest::default()
        };
        direct.change(delete).await.unwrap();
    }
    everywhere("WatchVms", &daemon, 10, async |client| {
        let mut watch = client.watch_vms(&token);
        let mut changes = Vec::new();
        loop {
            let Some(Told::Change(change)) = watch.next().await.unwrap().message else {
                continue;
            };
            let over = change.vm == last && change.kind() == VmChangeKind::Removed;
            changes.push(change);
            if over {
                break;
            }
        }
        assert!(MACHINES * 2 <= changes.len());
        changes
    })
    .await;

    let (_, reference) = sources();
    let pull = PullImageRequest {
        reference,
        image_id: "small".to_owned(),
        kernel: "kernels/linux".to_owned(),
        ..PullImageRequest::default()
    };
    let pulled = direct.change(pull).await.unwrap().name;
    everywhere("WatchOperation", &daemon, 10, async |client| {
        let mut watch = client.watch_operation(&pulled, 0);
        let mut events = Vec::new();
        while let Some(event) = watch.next().await.unwrap() {
            events.push(event);
        }
        assert!(3 < events.len(), "{events:?}");
        events
    })
    .await;
}
