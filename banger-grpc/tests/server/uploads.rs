//! Files of clients: in pieces, twice, wrong, somebody else's.

use std::{fs, time::Duration};

use banger_api::v1::{
    DeleteUploadRequest, ImportKernelRequest, LoadImageRequest, Operation, PullImageRequest,
    WriteUploadEnd, WriteUploadRequest, WriteUploadResponse, WriteUploadStart, image::Origin,
    load_image_request, operation::Outcome, write_upload_request::Piece,
    write_upload_response::Progress,
};
use banger_client::Client;
use banger_core::domain::Digest;
use banger_grpc::server::Limits;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    certificates::{Papers, options},
    harness::{Running, fresh, reason, succeeded, testbed, wait},
};

const BUDGET: Duration = Duration::from_mins(1);

/// Two owners, and one who may have machines alone.
const TOKENS: [(&str, &str, &[&str]); 3] = [
    ("ann", "token-of-ann", &["images"]),
    ("bob", "token-of-bob", &["images"]),
    ("vic", "token-of-vic", &["vms:own"]),
];

/// A stream that is open.
struct Writing {
    pieces: mpsc::Sender<WriteUploadRequest>,
    told: Streaming<WriteUploadResponse>,
}

impl Writing {
    async fn begin(client: &Client, id: &str) -> Result<Self, Status> {
        let (pieces, sent) = mpsc::channel(64);
        let start = Piece::Start(WriteUploadStart {
            upload_id: id.to_owned(),
        });
        send(&pieces, start).await;
        let mut uploads = client.uploads();
        let told = uploads.write_upload(ReceiverStream::new(sent)).await?;
        Ok(Self {
            pieces,
            told: told.into_inner(),
        })
    }

    async fn next(&mut self) -> Result<Progress, Status> {
        let told = self.told.message().await?;
        Ok(told.expect("it ended without a word").progress.unwrap())
    }

    /// Waits until so much is kept.
    async fn kept(&mut self, bytes: usize) {
        while self.next().await.unwrap() != Progress::KeptBytes(bytes as u64) {}
    }

    /// What the stream fails with.
    async fn failure(mut self) -> String {
        loop {
            if let Err(status) = self.next().await {
                return reason(&status);
            }
        }
    }

    /// The name of the file that is whole.
    async fn whole(mut self) -> String {
        loop {
            if let Progress::Whole(whole) = self.next().await.unwrap() {
                return whole.upload;
            }
        }
    }
}

async fn send(pieces: &mpsc::Sender<WriteUploadRequest>, piece: Piece) {
    let request = WriteUploadRequest { piece: Some(piece) };
    pieces.send(request).await.unwrap();
}

fn data(bytes: &[u8]) -> Piece {
    Piece::Data(Bytes::copy_from_slice(bytes))
}

fn end(whole: &[u8]) -> Piece {
    Piece::End(WriteUploadEnd {
        size_bytes: whole.len() as u64,
        digest: Digest::of(whole).to_string(),
    })
}

/// Sends a whole file.
pub(super) async fn upload(client: &Client, whole: &[u8]) -> String {
    let writing = Writing::begin(client, &fresh()).await.unwrap();
    let (pieces, told) = (writing.pieces.clone(), writing.whole());
    let sending = async {
        for piece in whole.chunks(65_536) {
            send(&pieces, data(piece)).await;
        }
        send(&pieces, end(whole)).await;
    };
    let ((), name) = tokio::join!(sending, told);
    name
}

async fn guarded() -> (Running, Papers, Client) {
    let papers = Papers::new();
    papers.list(&TOKENS);
    let running = Running::guarded(options(papers.with_tokens())).await;
    let ann = papers.client(&running, Some("token-of-ann"), None);
    (running, papers, ann)
}

fn left(running: &Running) -> usize {
    let directory = running.cache().join("uploads");
    fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn a_file_is_gone_on_with_by_streams_and_by_servers() {
    let running = Running::serving(Limits::default()).await;
    let client = Client::connect(&running.socket(), BUDGET).unwrap();
    let id = fresh();
    let mut first = Writing::begin(&client, &id).await.unwrap();
    assert_eq!(first.next().await.unwrap(), Progress::KeptBytes(0));
    send(&first.pieces, data(b"abc")).await;
    first.kept(3).await;
    // another stream of the same file ends the one before
    let mut second = Writing::begin(&client, &id).await.unwrap();
    assert_eq!(second.next().await.unwrap(), Progress::KeptBytes(3));
    assert_eq!(first.failure().await, "UPLOAD_TAKEN_OVER");
    send(&second.pieces, data(b"de")).await;
    second.kept(5).await;
    drop(second);

    let running = running.again(Limits::default()).await;
    let client = Client::connect(&running.socket(), BUDGET).unwrap();
    let mut third = Writing::begin(&client, &id).await.unwrap();
    assert_eq!(third.next().await.unwrap(), Progress::KeptBytes(5));
    send(&third.pieces, data(b"f")).await;
    send(&third.pieces, end(b"abcdef")).await;
    let name = third.whole().await;
    assert_eq!(name, format!("uploads/{id}"));
    // whoever lost that answer gets it again, and from another server, too
    let running = running.again(Limits::default()).await;
    let client = Client::connect(&running.socket(), BUDGET).unwrap();
    let again = Writing::begin(&client, &id).await.unwrap();
    assert_eq!(again.whole().await, name);
    assert_eq!(left(&running), 1);
    for _ in 0..2 {
        let request = DeleteUploadRequest { name: name.clone() };
        client.uploads().delete_upload(request).await.unwrap();
    }
    assert_eq!(left(&running), 0);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_leaves_nothing() {
    let (running, _papers, ann) = guarded().await;
    for id in ["", "x", "01936F3E-6B1C-7C5E-9C5A-2F1F5D3C7A10", "../x"] {
        let refused = Writing::begin(&ann, id).await.map(drop).unwrap_err();
        assert_eq!(reason(&refused), "INVALID_REQUEST", "{id:?}");
    }
    let start = || Piece::Start(WriteUploadStart { upload_id: fresh() });
    let no_digest = Piece::End(WriteUploadEnd {
        size_bytes: 0,
        digest: "x".to_owned(),
    });
    for (piece, expected) in [
        (end(b"other"), "CORRUPT_DATA"),
        (start(), "INVALID_REQUEST"),
        (no_digest, "INVALID_REQUEST"),
        (data(&vec![0; 65_537]), "INVALID_REQUEST"),
    ] {
        let id = fresh();
        let writing = Writing::begin(&ann, &id).await.unwrap();
        send(&writing.pieces, piece).await;
        assert_eq!(writing.failure().await, expected);
        let name = format!("uploads/{id}");
        let request = DeleteUploadRequest { name };
        ann.uploads().delete_upload(request).await.unwrap();
        assert_eq!(left(&running), 0);
    }
}

#[tokio::test]
async fn a_file_is_its_owners_alone_and_needs_no_more_than_the_scope_of_a_pull() {
    let (running, papers, ann) = guarded().await;
    let bob = papers.client(&running, Some("token-of-bob"), None);
    let vic = papers.client(&running, Some("token-of-vic"), None);
    let small = Writing::begin(&vic, &fresh()).await.map(drop).unwrap_err();
    assert_eq!(reason(&small), "OUT_OF_SCOPE");

    let package = fs::read(testbed().join("kernel/kernel.deb")).unwrap();
    let upload = upload(&ann, &package).await;
    let import = |upload: &str| ImportKernelRequest {
        request_id: fresh(),
        source: "deb:/home/ann/kernel.deb".to_owned(),
        kernel_id: "linux".to_owned(),
        upload: upload.to_owned(),
        wait: wait(120),
        ..ImportKernelRequest::default()
    };
    // what is another's is told of as what is not there
    let others = bob
        .kernels()
        .import_kernel(import(&upload))
        .await
        .unwrap_err();
    let missing = import(&format!("uploads/{}", fresh()));
    let missing = bob.kernels().import_kernel(missing).await.unwrap_err();
    assert_eq!(reason(&others), "UPLOAD_NOT_FOUND");
    assert_eq!(
        (others.code(), others.message()),
        (missing.code(), missing.message())
    );
    let deleting = DeleteUploadRequest {
        name: upload.clone(),
    };
    bob.uploads().delete_upload(deleting).await.unwrap();

    let request = import(&upload);
    let mut kernels = ann.kernels();
    let imported = kernels.import_kernel(request.clone()).await.unwrap();
    let imported = succeeded(imported.into_inner().operation);
    let Some(Outcome::Kernel(kernel)) = &imported.outcome else {
        panic!("{imported:?}");
    };
    assert_eq!(kernel.source, "deb:/home/ann/kernel.deb");
    // the request that comes twice is the same, though the file went with it
    let again = kernels.import_kernel(request).await.unwrap();
    assert_eq!(succeeded(again.into_inner().operation).name, imported.name);
    assert_eq!(left(&running), 0);
}

fn message(operation: Option<Operation>) -> String {
    match operation.unwrap().outcome {
        Some(Outcome::Failure(failure)) => failure.message,
        other => panic!("{other:?} is no failure"),
    }
}

#[tokio::test]
async fn failures_name_the_clients_files_and_no_others() {
    let (running, _papers, ann) = guarded().await;
    let client: &Client = &ann;
    let (images, kernels) = (client.images(), client.kernels());
    let cache = running.cache();
    let check = |message: &str, called: &str| {
        assert!(message.contains(called), "{message}");
        assert!(!message.contains(cache.as_str()), "{message}");
    };
    for source in [
        "/home/ann/vmlinuz",
        "deb:/home/ann/k.deb",
        "file:/home/ann/k.tar.zst",
    ] {
        let request = ImportKernelRequest {
            request_id: fresh(),
            source: source.to_owned(),
            upload: upload(client, b"neither").await,
            wait: wait(60),
            ..ImportKernelRequest::default()
        };
        let imported = kernels.clone().import_kernel(request).await.unwrap();
        check(&message(imported.into_inner().operation), source);
    }
    let bundle = "file:/home/ann/image.tar.zst";
    let request = LoadImageRequest {
        request_id: fresh(),
        source: Some(load_image_request::Source::Bundle(bundle.to_owned())),
        upload: upload(client, b"neither").await,
        wait: wait(60),
        ..LoadImageRequest::default()
    };
    let loaded = images.clone().load_image(request).await.unwrap();
    check(&message(loaded.into_inner().operation), bundle);
    // there is no kernel, which is told before the archive is read
    let pull = |upload: String, reference: &str| PullImageRequest {
        request_id: fresh(),
        reference: reference.to_owned(),
        kernel: "kernels/none".to_owned(),
        upload,
        wait: wait(60),
        ..PullImageRequest::default()
    };
    let sent = upload(client, b"neither").await;
    let request = pull(sent, "docker-archive:/home/ann/a.tar");
    let pulled = images.clone().pull_image(request).await.unwrap();
    check(&message(pulled.into_inner().operation), "kernel");
    assert_eq!(left(&running), 0);

    // what is in a registry is no client's file, and a client's file is no host's
    for (upload, reference, expected) in [
        ("uploads/x", "oci-archive:/a", "INVALID_REQUEST"),
        ("images/x", "oci-archive:/a", "INVALID_REQUEST"),
        ("", "oci-archive:/a", "OUT_OF_SCOPE"),
    ] {
        let mut images = images.clone();
        let refused = images.pull_image(pull(upload.to_owned(), reference));
        assert_eq!(reason(&refused.await.unwrap_err()), expected);
    }
    let name = format!("uploads/{}", fresh());
    let mut images = images.clone();
    let refused = images.pull_image(pull(name, "registry.example/a:b"));
    assert_eq!(reason(&refused.await.unwrap_err()), "INVALID_REQUEST");
}

#[tokio::test]
async fn what_a_client_had_built_says_of_which_file() {
    let (running, _papers, ann) = guarded().await;
    running.import_kernel().await;
    let layout = testbed().join("busybox");
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut tar = std::process::Command::new("tar");
    let packed = tar.args(["-C", layout.as_str(), "-cf", "-", "."]).output();
    let archive = packed.unwrap().stdout;
    let pull = |upload: &str, containerfile: &str| PullImageRequest {
        request_id: fresh(),
        reference: "oci:/home/ann/scratch/layout:latest".to_owned(),
        image_id: "built".to_owned(),
        kernel: "kernels/linux".to_owned(),
        upload: upload.to_owned(),
        containerfile: containerfile.to_owned(),
        wait: wait(60),
        ..PullImageRequest::default()
    };
    let sent = upload(&ann, &archive).await;
    for (upload, file) in [
        (sent.as_str(), "Containerfile"),
        ("", "/home/ann/Containerfile"),
    ] {
        // without an upload the reference is one of the host's files
        let request = pull(upload, file);
        let refused = if upload.is_empty() {
            running.images().pull_image(request).await
        } else {
            ann.images().pull_image(request).await
        };
        let refused = refused.unwrap_err();
        assert!(refused.message().contains("containerfile"), "{refused}");
    }
    let request = pull(&sent, "/home/ann/Containerfile");
    let built = ann.images().pull_image(request.clone()).await.unwrap();
    let built = succeeded(built.into_inner().operation);
    let Some(Outcome::Image(image)) = &built.outcome else {
        panic!("{built:?}");
    };
    let Some(Origin::Containerfile(origin)) = &image.origin else {
        panic!("{image:?}");
    };
    assert_eq!(origin.path, "/home/ann/Containerfile");
    assert!(origin.manifest_digest.starts_with("sha256:"));
    let again = ann.images().pull_image(request).await.unwrap();
    assert_eq!(succeeded(again.into_inner().operation).name, built.name);
    assert_eq!(left(&running), 0);
}
