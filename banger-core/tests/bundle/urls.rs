//! Bundles from a server that breaks off, lies or has other bytes.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::{Bytes, Digest},
};
use camino::Utf8Path;

use super::{
    host::{Host, entries},
    server::Server,
};

struct World {
    maker: Host,
    server: Server,
    host: Host,
    reference: String,
    size: usize,
}

impl World {
    async fn new() -> Self {
        let maker = Host::new().await;
        let (_, written) = maker.bundle("golden.tar.zst", true).await;
        let server = Server::start(&maker.root);
        Self {
            reference: format!("{}/golden.tar.zst@{}", server.address, written.sha256),
            size: usize::try_from(written.size.get()).unwrap(),
            host: Host::new().await,
            server,
            maker,
        }
    }

    fn seen(&self) -> Vec<String> {
        self.server.script.lock().unwrap().seen.clone()
    }

    fn blobs(&self) -> Vec<String> {
        let mut names = entries(&self.host.root.join("cache/blobs/sha256"));
        names.retain(|name| Utf8Path::new(name).extension() != Some("lock"));
        names
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_was_cut_and_is_cached() {
    let world = World::new().await;
    let half = world.size / 2;
    // the first answer is only looked at for its length
    world.server.script.lock().unwrap().cuts = vec![usize::MAX, half];
    let image = world.host.load(&world.reference).await.unwrap();
    assert_eq!(image.sizes.apparent, Bytes::from_mib(64));
    let expected = ["/golden.tar.zst 0", "/golden.tar.zst 0"].map(str::to_owned);
    let resumed = format!("/golden.tar.zst {half}");
    assert_eq!(world.seen(), [&expected[..], &[resumed]].concat());
    assert_eq!(world.blobs().len(), 1);
    world
        .host
        .local
        .images
        .delete(&"golden".into())
        .await
        .unwrap();
    world.host.load(&world.reference).await.unwrap();
    assert_eq!(world.seen().len(), 3, "the cache was not used");
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start_again() {
    let world = World::new().await;
    {
        let mut script = world.server.script.lock().unwrap();
        script.ignores_ranges = true;
        script.cuts = vec![usize::MAX, world.size / 2];
    }
    world.host.load(&world.reference).await.unwrap();
}

#[tokio::test]
async fn other_bytes_than_those_asked_for_are_never_kept() {
    let world = World::new().await;
    let path = world.maker.root.join("golden.tar.zst");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = world.host.load(&world.reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    fs::remove_file(&path).unwrap();
    let missing = world.host.load(&world.reference).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    world.host.assert_nothing_kept().await;
    let whole: Vec<String> = world
        .blobs()
        .into_iter()
        .filter(|name| Utf8Path::new(name).extension().is_none())
        .collect();
    assert_eq!(whole, [""; 0]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let host = Host::new().await;
    let reference = format!("http://127.0.0.1:1/golden.tar.zst@{}", Digest::of(b"x"));
    let error = host.load(&reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}
