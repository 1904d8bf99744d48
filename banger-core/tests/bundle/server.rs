//! An HTTP server for one directory, which knows ranges and may break off.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use camino::{Utf8Path, Utf8PathBuf};

/// What the server does.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Answers that end after so many bytes of their body.
    pub(crate) cuts: Vec<usize>,
    /// Whether it ignores ranges.
    pub(crate) ignores_ranges: bool,
    /// The lines of requests so far, with the range behind them.
    pub(crate) seen: Vec<String>,
}

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) script: Arc<Mutex<Script>>,
}

impl Server {
    /// Serves the files of `directory` as long as the process lives.
    pub(crate) fn start(directory: &Utf8Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let (directory, shared) = (directory.to_owned(), Arc::clone(&script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &directory, &shared);
            }
        });
        Self { address, script }
    }
}

fn serve(mut stream: TcpStream, directory: &Utf8PathBuf, script: &Mutex<Script>) {
    let (path, offset) = request(&stream);
    let mut script = script.lock().unwrap();
    script.seen.push(format!("{path} {offset}"));
    let Ok(bytes) = fs::read(directory.join(path.trim_start_matches('/'))) else {
        let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        drop(stream.write_all(answer.as_bytes()));
        return;
    };
    let offset = if script.ignores_ranges { 0 } else { offset };
    let body = &bytes[offset..];
    let status = if offset == 0 {
        "200 OK".to_owned()
    } else {
        let last = bytes.len() - 1;
        format!(
            "206 Partial Content\r\ncontent-range: bytes {offset}-{last}/{}",
            bytes.len()
        )
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let end = (!script.cuts.is_empty()).then(|| script.cuts.remove(0));
    let body = &body[..end.unwrap_or(body.len()).min(body.len())];
    // a client that has enough is free to go
    drop(stream.write_all(head.as_bytes()));
    drop(stream.write_all(body));
}

/// The path of a request and where its range starts.
fn request(stream: &TcpStream) -> (String, usize) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut offset = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            offset = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    (path, offset)
}
