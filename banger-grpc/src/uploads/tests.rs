//! Files that come in pieces, break off, and are gone on with.

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

struct Scene {
    scratch: tempfile::TempDir,
    uploads: Uploads,
    key: Key,
}

impl Scene {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let limits = UploadLimits {
            owner_bytes: 100,
            ..UploadLimits::default()
        };
        let directory = Utf8Path::from_path(scratch.path()).unwrap().join("uploads");
        let uploads = Uploads::new(directory, limits);
        uploads.find().unwrap();
        Self {
            key: Key::new("ann", Uuid::now_v7()),
            scratch,
            uploads,
        }
    }

    /// The same files, found by another server.
    fn again(self) -> Self {
        let Inner {
            directory, limits, ..
        } = &*self.uploads.0;
        let uploads = Uploads::new(directory.clone(), *limits);
        uploads.find().unwrap();
        Self { uploads, ..self }
    }

    async fn begin(&self) -> Taking {
        match self.uploads.begin(&self.key, NOW).await.unwrap() {
            Begun::Coming(taking) => taking,
            Begun::Whole(length) => panic!("it is whole: {length}"),
        }
    }

    async fn send(&self, pieces: Vec<Piece>) -> Result<u64, Fault> {
        let taking = self.begin().await;
        let (sender, receiver) = mpsc::channel(8);
        for piece in pieces {
            sender.send(piece).await.unwrap();
        }
        drop(sender);
        let (kept, _) = channel::channel(0);
        let taken = spawn_blocking(move || taking.receive(receiver, &kept));
        taken.await.unwrap()
    }

    fn left(&self) -> Vec<String> {
        let directory = self.scratch.path().join("uploads");
        let names = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.unwrap().file_name();
            name.to_str().unwrap().to_owned()
        };
        names.map(name).collect()
    }
}

fn data(text: &'static str) -> Piece {
    Piece::Data(Bytes::from_static(text.as_bytes()))
}

fn end(text: &str) -> Piece {
    Piece::End(text.len() as u64, Digest::of(text.as_bytes()))
}

#[tokio::test]
async fn a_file_is_gone_on_with_whoever_broke_off() {
    let scene = Scene::new();
    let cut = scene.send(vec![data("abc"), data("de")]).await;
    assert_eq!(cut.unwrap_err().reason(), ErrorReason::Cancelled);
    assert_eq!(scene.begin().await.kept, 5);
    // another server knows no more than the file
    let scene = scene.again();
    assert_eq!(scene.begin().await.kept, 5);
    let cut = scene.send(vec![data("f")]).await;
    assert_eq!(cut.unwrap_err().reason(), ErrorReason::Cancelled);
    assert!(scene.uploads.check(&scene.key).is_err());
    let whole = scene.send(vec![data("g"), end("abcdefg")]).await;
    assert_eq!(whole.unwrap(), 7);
    let scene = scene.again();
    let begun = scene.uploads.begin(&scene.key, NOW).await.unwrap();
    assert!(matches!(begun, Begun::Whole(7)));
    let held = scene.uploads.hold(&scene.key, NOW).unwrap();
    assert_eq!(fs::read(&held.file).unwrap(), b"abcdefg");
    // nobody else's, and it stays while it is read
    let other = Key::new("bob", Uuid::try_parse(&scene.key.name).unwrap());
    let missing = scene.uploads.check(&other).unwrap_err();
    assert_eq!(missing.reason(), ErrorReason::UploadNotFound);
    scene.uploads.remove(&scene.key).await;
    assert_eq!(scene.left().len(), 1);
    drop(held);
    scene.uploads.remove(&scene.key).await;
    assert!(scene.left().is_empty());
}

#[tokio::test]
async fn another_digest_and_too_much_leave_nothing() {
    let scene = Scene::new();
    for (pieces, reason) in [
        (vec![data("abc"), end("abd")], ErrorReason::CorruptData),
        (
            vec![data("abc"), Piece::End(4, Digest::of(b"abc"))],
            ErrorReason::CorruptData,
        ),
        (
            vec![Piece::Data(Bytes::from(vec![0; 101]))],
            ErrorReason::HostExhausted,
        ),
    ] {
        let refused = scene.send(pieces).await.unwrap_err();
        assert_eq!(refused.reason(), reason);
        assert!(scene.left().is_empty());
    }
}

#[tokio::test]
async fn the_newest_stream_writes_and_what_is_forgotten_goes() {
    let scene = Scene::new();
    let former = scene.begin().await;
    let turn = former.turn.clone();
    let (sender, receiver) = mpsc::channel(8);
    let (kept, _) = channel::channel(0);
    let writing = spawn_blocking(move || former.receive(receiver, &kept));
    sender.send(data("abc")).await.unwrap();
    let giving_up = async {
        turn.cancelled().await;
        drop(sender);
    };
    let (newest, ()) = tokio::join!(scene.begin(), giving_up);
    assert_eq!(newest.kept, 3);
    assert!(writing.await.unwrap().is_err());
    let late = NOW + ledger::KEPT * 2;
    scene.uploads.sweep(late);
    assert_eq!(scene.left().len(), 1, "somebody writes it");
    drop(newest);
    scene.uploads.sweep(NOW + ledger::KEPT);
    assert_eq!(scene.left().len(), 1, "it is not old");
    scene.uploads.sweep(late);
    assert!(scene.left().is_empty());
}
