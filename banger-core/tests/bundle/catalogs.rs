//! Catalogs of files and servers, signed by minisign itself.

use std::fs;

use banger_core::{
    ErrorKind,
    catalog::{CatalogOptions, SupplyOptions},
    domain::Digest,
    trust::MinisignKey,
};
use camino::Utf8PathBuf;

use super::{
    host::{Host, key_pair, sign},
    server::Server,
};

/// A catalog with one image, beside its bundle in the maker's root.
async fn catalog(maker: &Host) -> Utf8PathBuf {
    let (_, written) = maker.bundle("golden.tar.zst", true).await;
    let document = serde_json::json!({
        "format": 1,
        "images": [{
            "name": "golden",
            "architecture": std::env::consts::ARCH,
            "source": "golden.tar.zst",
            "sha256": written.sha256.to_hex(),
            "size": written.size.get(),
            "description": "a test's image",
        }],
    });
    let path = maker.root.join("catalog.json");
    fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    path
}

fn options(location: &str) -> CatalogOptions {
    CatalogOptions {
        name: "team".into(),
        location: banger_core::bundle::Location::parse(location).unwrap(),
        sha256: None,
        key: None,
    }
}

async fn host(catalog: CatalogOptions) -> Host {
    Host::with(SupplyOptions {
        catalogs: vec![catalog],
        ..SupplyOptions::default()
    })
    .await
}

#[tokio::test]
async fn an_image_is_pulled_by_its_short_name() {
    let maker = Host::new().await;
    let path = catalog(&maker).await;
    let server = Server::start(&maker.root);
    for location in [
        format!("file:{path}"),
        format!("{}/catalog.json", server.address),
    ] {
        let host = host(options(&location)).await;
        let image = host.load_named("golden").await.unwrap();
        assert_eq!(image.name.as_str(), "golden");
        let missing = host.load_named("silver").await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
        let available = host.local.images.available().await;
        let names: Vec<&str> = available.entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!((names, available.failures.len()), (vec!["golden"], 0));
    }
}

#[tokio::test]
async fn a_catalog_with_a_key_is_believed_only_when_signed_by_it() {
    let maker = Host::new().await;
    let path = catalog(&maker).await;
    let key = MinisignKey::parse(&key_pair(&maker.root, "ours")).unwrap();
    key_pair(&maker.root, "theirs");
    let host = host(CatalogOptions {
        key: Some(key),
        ..options(&format!("file:{path}"))
    })
    .await;
    let unsigned = host.load_named("golden").await.unwrap_err();
    assert_eq!(unsigned.kind(), ErrorKind::PermissionDenied, "{unsigned:?}");
    sign(&maker.root, "theirs", &path);
    let foreign = host.load_named("golden").await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::PermissionDenied, "{foreign:?}");
    sign(&maker.root, "ours", &path);
    host.load_named("golden").await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("a test's", "another")).unwrap();
    let changed = host.local.images.available().await;
    assert_eq!(changed.entries.len(), 0);
    assert_eq!(changed.failures[0].kind(), ErrorKind::PermissionDenied);
    // what might have had the name ends the search
    let error = host.local.kernels.available().await;
    assert!(!error.entries.is_empty(), "the embedded catalog is lost");
    let name = "debian-cloud".parse().unwrap();
    let error = host
        .local
        .kernels
        .pull(&name, false, &banger_core::progress::NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    host.local.images.delete(&"golden".into()).await.unwrap();
    host.assert_nothing_kept().await;
}

#[tokio::test]
async fn a_pinned_catalog_and_a_pinned_bundle_have_their_digests_or_are_refused() {
    let maker = Host::new().await;
    let path = catalog(&maker).await;
    let location = format!("file:{path}");
    let pinned = |digest| CatalogOptions {
        sha256: Some(digest),
        ..options(&location)
    };
    let right = host(pinned(Digest::of(&fs::read(&path).unwrap()))).await;
    right.load_named("golden").await.unwrap();
    let wrong = host(pinned(Digest::of(b"other"))).await;
    let error = wrong.load_named("golden").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    let bundle = maker.root.join("golden.tar.zst");
    let mut bytes = fs::read(&bundle).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&bundle, &bytes).unwrap();
    let open = host(options(&location)).await;
    let error = open.load_named("golden").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    bytes.push(0);
    fs::write(&bundle, &bytes).unwrap();
    let error = open.load_named("golden").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    open.assert_nothing_kept().await;
}

#[tokio::test]
async fn what_is_no_catalog_is_refused() {
    let maker = Host::new().await;
    let path = maker.root.join("catalog.json");
    fs::write(&path, "{\"format\": 1, \"surprise\": []}").unwrap();
    let host = host(options(&format!("file:{path}"))).await;
    let error = host.load_named("golden").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    fs::remove_file(&path).unwrap();
    let error = host.load_named("golden").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}
