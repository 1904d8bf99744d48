//! Readers of images that stop reading.

use std::{fs, time::Duration};

use banger_api::v1::{
    ErrorReason, ImageArchiveFormat, ReadImageFileRequest, ReadImageFileResponse, SaveImageRequest,
    SaveImageResponse, read_image_file_response::Piece as Read,
    save_image_response::Piece as Saved,
};
use banger_client::{Client, Failure};
use tonic::Streaming;

use super::{
    cut::BUDGET,
    daemon::Daemon,
    everywhere::{image, kernel, noise},
};

/// How long the file is that nobody reads: far more than the service may keep.
const LENGTH: u32 = 48 << 20;
/// What the service may need for all readers together, in KiB.
const BOUND: u64 = 64 << 10;

/// The memory in KiB that the service has for itself (proc(5)).
fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let mut words = line.unwrap().split_whitespace();
    words.next().unwrap().parse().unwrap()
}

/// The memory when it grows no more.
async fn settled(daemon: &Daemon) -> u64 {
    let mut before = resident(daemon);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = resident(daemon);
        if now <= before + 256 {
            return now;
        }
        before = now;
    }
}

/// Readers with connections of their own: one's window is not another's.
#[derive(Default)]
struct Readers {
    files: Vec<Streaming<ReadImageFileResponse>>,
    archives: Vec<Streaming<SaveImageResponse>>,
}

impl Readers {
    /// One more of each sort, if the service lets them in.
    async fn more(&mut self, daemon: &Daemon) -> Result<(), Failure> {
        let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
        let read = ReadImageFileRequest {
            name: "images/long".to_owned(),
            path: "/noise".into(),
            offset_bytes: 0,
        };
        let file = client.images().read_image_file(read).await?;
        self.files.push(file.into_inner());
        let save = SaveImageRequest {
            name: "images/long".to_owned(),
            format: ImageArchiveFormat::RootfsTar.into(),
            ..SaveImageRequest::default()
        };
        let archive = client.images().save_image(save).await?;
        self.archives.push(archive.into_inner());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_wait_cost_little_lose_nothing_and_others_are_told() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    kernel(&client).await;
    let content = noise(LENGTH);
    image(&daemon, &client, "long", |tree| {
        fs::write(tree.join("noise"), &content).unwrap();
    })
    .await;

    let before = settled(&daemon).await;
    let mut readers = Readers::default();
    let refused = loop {
        if let Err(refused) = readers.more(&daemon).await {
            break refused;
        }
        assert!(readers.files.len() < 100, "nobody is refused");
    };
    assert_eq!(refused.reason, Some(ErrorReason::TooManyCalls));
    assert!(refused.is_retryable());
    let all = readers.files.len() + readers.archives.len();
    assert!(8 <= all, "{all} readers");
    let grown = settled(&daemon).await.saturating_sub(before);
    assert!(grown < BOUND, "{all} readers cost {grown} KiB");

    // they have waited, and get all of it
    let mut file = readers.files.pop().unwrap();
    let mut read = Vec::new();
    while let Some(piece) = file.message().await.unwrap() {
        if let Some(Read::Data(data)) = piece.piece {
            read.extend_from_slice(&data);
        }
    }
    assert!(read == content, "{} bytes", read.len());
    let mut archive = readers.archives.pop().unwrap();
    let (mut length, mut end) = (0, None);
    while let Some(piece) = archive.message().await.unwrap() {
        match piece.piece.unwrap() {
            Saved::Data(data) => length += data.len() as u64,
            Saved::End(told) => end = Some(told.size_bytes),
            Saved::Progress(progress) => panic!("{progress:?} is of no bundle"),
        }
    }
    assert_eq!(end, Some(length));
    assert!(u64::from(LENGTH) < length);

    // those who go away make room
    drop(readers);
    let mut again = Readers::default();
    while again.more(&daemon).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
