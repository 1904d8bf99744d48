//! A registry on the loopback interface, and a layout, of one image.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use banger_core::{domain::Digest, oci::Platform};
use camino::Utf8Path;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// Enough for several pieces of a download.
const FILE: usize = 700_000;

/// An image of one layer.
pub(crate) struct Content {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Content {
    pub(crate) fn new() -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(FILE as u64);
        builder
            .append_data(&mut header, "file", &*vec![7; FILE])
            .unwrap();
        let layer = builder.into_inner().unwrap();
        let host = Platform::host();
        let diff_ids = [Digest::of(&layer).to_string()];
        let config = json!({
            "architecture": host.architecture, "os": host.os, "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config), "layers": [descriptor(TAR, &layer)],
        });
        Self {
            manifest: manifest.to_string().into_bytes(),
            config,
            layer,
        }
    }

    /// Writes a layout that has the image as `built`.
    pub(crate) fn write_layout(&self, directory: &Utf8Path) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for blob in [&self.manifest, &self.config, &self.layer] {
            fs::write(blobs.join(Digest::of(blob).to_hex()), blob).unwrap();
        }
        let mut tagged = descriptor(MANIFEST, &self.manifest);
        tagged["annotations"] = json!({"org.opencontainers.image.ref.name": "built"});
        let index = json!({"schemaVersion": 2, "manifests": [tagged]});
        fs::write(directory.join("index.json"), index.to_string()).unwrap();
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(directory.join("oci-layout"), version).unwrap();
    }

    /// Serves the image, under any name, as long as the process lives, and
    /// answers where.
    pub(crate) fn serve(self: Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = Arc::clone(&self);
                // a client that was killed takes no answer
                thread::spawn(move || content.answer(stream).ok());
            }
        });
        address
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let request = Request::read(&stream)?;
        let Some((media_type, bytes)) = self.find(&request.path) else {
            let head = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return stream.write_all(head.as_bytes());
        };
        let (length, left) = (bytes.len(), &bytes[request.offset.min(bytes.len())..]);
        let status = if request.offset == 0 {
            "200 OK".to_owned()
        } else {
            let range = format!("bytes {}-{}/{length}", request.offset, length - 1);
            format!("206 Partial Content\r\ncontent-range: {range}")
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            left.len()
        );
        stream.write_all(head.as_bytes())?;
        if request.wants_body {
            stream.write_all(left)?;
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Option<(&'static str, &[u8])> {
        if path == "/v2/" {
            return Some(("application/json", b"{}"));
        }
        if path.contains("/manifests/") {
            return Some((MANIFEST, &self.manifest));
        }
        let blobs = [&self.config, &self.layer];
        let digest = path.rsplit('/').next()?;
        let found = blobs
            .into_iter()
            .find(|blob| Digest::of(blob).to_string() == digest);
        found.map(|blob| ("application/octet-stream", blob.as_slice()))
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes).to_string();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

struct Request {
    path: String,
    /// Where the wanted part starts.
    offset: usize,
    wants_body: bool,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut lines = BufReader::new(stream).lines();
        let line = lines.next().transpose()?.unwrap_or_default();
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let mut offset = 0;
        for header in lines {
            let header = header?.to_lowercase();
            if header.is_empty() {
                break;
            }
            let range = header.strip_prefix("range: bytes=");
            let start = range.and_then(|range| range.split('-').next()?.parse().ok());
            offset = start.unwrap_or(offset);
        }
        Ok(Self {
            path,
            offset,
            wants_body: method != "HEAD",
        })
    }
}
