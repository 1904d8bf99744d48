//! Images in layout directories, whole and damaged.

use std::{fs, os::unix::fs::symlink};

use banger_core::{
    ErrorKind,
    oci::{ImageSources as _, LayerBlob, SourceError},
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    content::{Content, INDEX, LAYER, Shape},
    world::{options, pull},
};

/// A layout directory whose root documents have these tags.
pub(crate) struct Layout {
    pub(crate) directory: Utf8PathBuf,
    scratch: TempDir,
}

impl Layout {
    pub(crate) fn write(shape: Shape, tags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap().join("layout");
        let layout = Self { directory, scratch };
        fs::create_dir_all(layout.directory.join("blobs/sha256")).unwrap();
        let mut content = Content::new(shape);
        let root = content.root_descriptor();
        for (digest, (_, bytes)) in &content.blobs {
            fs::write(layout.blob(&digest.to_hex()), bytes).unwrap();
        }
        let entries: Vec<Value> = tags.iter().map(|tag| tagged(&root, tag)).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        layout.put("index.json", &index.to_string());
        layout.put("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    fn blob(&self, hex: &str) -> Utf8PathBuf {
        self.directory.join("blobs/sha256").join(hex)
    }

    fn layer(&self) -> Utf8PathBuf {
        self.blob(&Content::layer_digest().to_hex())
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    async fn pull(&self, tag: &str) -> Result<Vec<LayerBlob>, SourceError> {
        let reference = format!("oci:{}{tag}", self.directory).parse().unwrap();
        let root = Utf8Path::from_path(self.scratch.path()).unwrap();
        let source = options(root).open(&reference)?;
        pull(source.as_ref(), &NoProgress).await
    }
}

fn tagged(root: &Value, tag: &str) -> Value {
    let mut entry = root.clone();
    if !tag.is_empty() {
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    }
    entry
}

#[tokio::test]
async fn blobs_are_used_where_they_are() {
    for (tags, wanted) in [(&["one", "two"][..], ":two"), (&["one"], ""), (&[""], "")] {
        let layout = Layout::write(Shape::Index, tags);
        let blobs = layout.pull(wanted).await.unwrap();
        assert_eq!(blobs.len(), 1);
        assert_eq!(blobs[0].path, layout.layer());
        assert!(fs::read(&blobs[0].path).unwrap() == LAYER);
    }
}

#[tokio::test]
async fn a_tag_that_is_missing_or_needed_is_told_with_those_there_are() {
    let layout = Layout::write(Shape::Index, &["one", "two"]);
    for (wanted, kind) in [
        (":three", ErrorKind::NotFound),
        ("", ErrorKind::InvalidInput),
    ] {
        let error = layout.pull(wanted).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("the tags one, two"), "{error}");
    }
    let empty = Layout::write(Shape::Index, &[]);
    let error = empty.pull("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn what_is_no_layout_is_refused() {
    type Spoil = fn(&Layout);
    let cases: [(Spoil, ErrorKind); 7] = [
        (
            |layout| fs::remove_dir_all(&layout.directory).unwrap(),
            ErrorKind::NotFound,
        ),
        (
            |layout| fs::remove_file(layout.directory.join("oci-layout")).unwrap(),
            ErrorKind::Corrupt,
        ),
        (|layout| layout.put("oci-layout", "{}"), ErrorKind::Corrupt),
        (
            |layout| layout.put("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#),
            ErrorKind::Unsupported,
        ),
        (|layout| layout.put("index.json", "[]"), ErrorKind::Corrupt),
        (
            |layout| layout.put("index.json", &" ".repeat(5 << 20)),
            ErrorKind::ResourceExhausted,
        ),
        (
            |layout| fs::remove_file(layout.directory.join("index.json")).unwrap(),
            ErrorKind::NotFound,
        ),
    ];
    for (number, (spoil, kind)) in cases.into_iter().enumerate() {
        let layout = Layout::write(Shape::Index, &["one"]);
        spoil(&layout);
        let error = layout.pull("").await.unwrap_err();
        assert_eq!(error.kind(), kind, "case {number}: {error}");
    }
}

#[tokio::test]
async fn damaged_blobs_are_refused() {
    let long = [LAYER, b"more"].concat();
    for content in [&LAYER[1..], &long] {
        let layout = Layout::write(Shape::Index, &["one"]);
        fs::write(layout.layer(), content).unwrap();
        let error = layout.pull("").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let layout = Layout::write(Shape::Index, &["one"]);
    fs::remove_file(layout.layer()).unwrap();
    let error = layout.pull("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// Whoever reads a layer compares its bytes with its digest.
#[tokio::test]
async fn layers_are_handed_out_unverified() {
    let layout = Layout::write(Shape::Index, &["one"]);
    let layers = layout.pull("").await.unwrap();
    assert!(layers.iter().all(|layer| !layer.verified));
}

#[tokio::test]
async fn links_out_of_a_layout_are_not_followed() {
    let outside = Layout::write(Shape::Index, &["one"]);
    let layout = Layout::write(Shape::Index, &["one"]);
    fs::remove_file(layout.layer()).unwrap();
    symlink(outside.layer(), layout.layer()).unwrap();
    assert!(layout.pull("").await.is_err());

    let layout = Layout::write(Shape::Index, &["one"]);
    fs::remove_dir_all(layout.directory.join("blobs")).unwrap();
    symlink(
        outside.directory.join("blobs"),
        layout.directory.join("blobs"),
    )
    .unwrap();
    assert!(layout.pull("").await.is_err());
    outside.pull("").await.unwrap();
}

#[tokio::test]
async fn images_are_followed_and_bounded_as_in_registries() {
    for (shape, kind) in [
        (Shape::IndexInIndex, None),
        (Shape::DockerManifest, None),
        (Shape::DeepIndexes, Some(ErrorKind::ResourceExhausted)),
        (Shape::HugeManifest, Some(ErrorKind::ResourceExhausted)),
        (Shape::HugeConfig, Some(ErrorKind::ResourceExhausted)),
        (Shape::Manifest("arm64"), Some(ErrorKind::NotFound)),
        (Shape::WrongManifest, Some(ErrorKind::Corrupt)),
        (Shape::WrongConfig, Some(ErrorKind::Corrupt)),
    ] {
        let layout = Layout::write(shape, &["one"]);
        let refused = layout.pull("").await.err();
        assert_eq!(
            refused.as_ref().map(SourceError::kind),
            kind,
            "{shape:?}: {refused:?}"
        );
    }
}
