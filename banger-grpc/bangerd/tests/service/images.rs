//! Disks and archives of images over connections that break, with the core's traits.

use std::{fmt::Debug, fs, time::Duration};

use banger_api::v1::{ImportKernelRequest, PullImageRequest};
use banger_client::{Client, services::RemoteServices};
use banger_core::{
    ErrorKind,
    domain::{Bytes, Selector},
    image::{
        DiskStream, ImageManager, ListImageFiles, ReadImageError, SaveError, SaveFormat,
        SaveOutput, SaveRequest,
    },
};
use camino::Utf8PathBuf;

use super::{
    cutter::Cutter,
    daemon::{Daemon, part},
    foreign::sources,
};

/// Longer than everything takes together.
const BUDGET: Duration = Duration::from_mins(4);
/// After how many frames a connection breaks.
const FRAMES: u64 = 40;

/// A service with two images, `small` and `large`.
async fn with_images() -> (Daemon, RemoteServices) {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    let (source, small) = sources();
    let import = ImportKernelRequest {
        source,
        kernel_id: "linux".to_owned(),
        ..ImportKernelRequest::default()
    };
    client.change(import).await.unwrap();
    let large = format!("oci:{}:bookworm", part("BANGER_TESTBED").join("debian"));
    for (name, reference) in [("small", small), ("large", large)] {
        let pull = PullImageRequest {
            reference,
            image_id: name.to_owned(),
            kernel: "kernels/linux".to_owned(),
            ..PullImageRequest::default()
        };
        client.change(pull).await.unwrap();
    }
    (daemon, RemoteServices::new(client))
}

fn over(cutter: &Cutter, budget: Duration) -> RemoteServices {
    RemoteServices::new(Client::connect(&cutter.socket, budget).unwrap())
}

async fn all<T: Debug>(mut stream: DiskStream<T>) -> Result<Vec<T>, ReadImageError> {
    let mut all = Vec::new();
    while let Some(one) = stream.next().await? {
        all.push(one);
    }
    Ok(all)
}

async fn content(images: &dyn ImageManager, path: &str, from: u64) -> Vec<u8> {
    let file = images
        .read_file(&"large".into(), path.into(), from)
        .await
        .unwrap();
    all(file.content).await.unwrap().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_are_the_same_over_connections_that_never_last() {
    let (daemon, direct) = with_images().await;
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    let cut = over(&cutter, BUDGET);
    let (small, large) = (Selector::from("small"), Selector::from("large"));
    let everything = ListImageFiles {
        path: b"/".to_vec(),
        recursive: true,
        after: Vec::new(),
    };

    cutter.cut(u64::MAX, FRAMES);
    let listed = direct.images.list_files(&large, everything.clone()).await;
    let listed = all(listed.unwrap()).await.unwrap();
    let again = cut.images.list_files(&large, everything).await.unwrap();
    assert!(listed == all(again).await.unwrap());
    assert!(listed.is_sorted_by(|one, other| one.path < other.path));
    let cuts = cutter.cuts();
    assert!(1 < cuts, "{cuts} cuts");

    let differing = direct.images.diff(&small, &large, Vec::new()).await;
    let differing = all(differing.unwrap()).await.unwrap();
    let again = cut.images.diff(&small, &large, Vec::new()).await.unwrap();
    assert!(differing == all(again).await.unwrap());
    assert!(!differing.is_empty());

    // the longest file there is
    let longest = listed.iter().max_by_key(|entry| {
        let is_file = entry.kind.as_str() == "file";
        u64::from(is_file) * entry.size
    });
    let longest = longest.unwrap();
    let path = String::from_utf8(longest.path.clone()).unwrap();
    let whole = content(direct.images.as_ref(), &path, 0).await;
    assert_eq!(whole.len() as u64, longest.size);
    let cuts = cutter.cuts();
    assert!(whole == content(cut.images.as_ref(), &path, 0).await);
    assert!(cuts + 1 < cutter.cuts(), "{} cuts", cutter.cuts());
    let middle = longest.size / 2 + 1;
    let rest = content(cut.images.as_ref(), &path, middle).await;
    assert!(whole.ends_with(&rest) && rest.len() as u64 == longest.size - middle);
    assert_eq!(content(direct.images.as_ref(), &path, u64::MAX).await, b"");

    let missing = direct.images.read_file(&large, b"/none".to_vec(), 0).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Saves the image `small` into a file, and answers what is in it.
async fn save(
    services: &RemoteServices,
    format: SaveFormat,
    file: &Utf8PathBuf,
) -> Result<Vec<u8>, SaveError> {
    let request = SaveRequest {
        format,
        output: SaveOutput::File(file.clone()),
    };
    let saved = services.images.save(&"small".into(), request).await?;
    let written = fs::read(file).unwrap();
    assert_eq!(saved.size, Bytes::new(written.len() as u64));
    Ok(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_the_same_whatever_breaks_or_there_is_none() {
    let (mut daemon, direct) = with_images().await;
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    let out = daemon.root.join("out");
    fs::create_dir(&out).unwrap();
    for format in SaveFormat::ALL {
        cutter.cut(0, 0);
        let whole = save(&direct, format, &out.join("whole")).await.unwrap();
        cutter.cut(u64::MAX, FRAMES);
        let cut = over(&cutter, BUDGET);
        let pieces = save(&cut, format, &out.join("pieces")).await.unwrap();
        assert!(whole == pieces, "{format:?}");
        assert!(1 < cutter.cuts(), "{} cuts", cutter.cuts());
        let taken = save(&direct, format, &out.join("whole")).await.unwrap_err();
        assert!(matches!(taken, SaveError::AlreadyExists { .. }), "{taken}");
        for name in ["whole", "pieces"] {
            fs::remove_file(out.join(name)).unwrap();
        }
    }

    // the service is killed on the way, and another one goes on
    cutter.cut(1, FRAMES);
    let format = SaveFormat::DockerArchive;
    let through = over(&cutter, BUDGET);
    let file = out.join("pieces");
    let (saved, ()) = tokio::join!(save(&through, format, &file), async {
        while cutter.cuts() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        daemon.signal("KILL");
        daemon.wait();
        daemon.again();
    });
    let whole = save(&direct, format, &out.join("whole")).await.unwrap();
    assert!(whole == saved.unwrap());
    fs::remove_file(out.join("pieces")).unwrap();
    fs::remove_file(out.join("whole")).unwrap();

    // nobody goes on: there is an error, and no file
    cutter.cut(u64::MAX, 12);
    let hasty = over(&cutter, Duration::from_secs(5));
    let failed = save(&hasty, format, &file).await.unwrap_err();
    assert!(matches!(failed, SaveError::Remote(_)), "{failed}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}
