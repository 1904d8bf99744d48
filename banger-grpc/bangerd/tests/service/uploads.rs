//! Files of clients over connections that break, with the core's traits.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    sync::Arc,
    thread,
    time::Duration,
};

use banger_client::{
    Client,
    services::{Host, RemoteServices},
};
use banger_core::{
    domain::{Image, ImageOrigin},
    error::in_words,
    image::{PullError, PullRequest, SaveFormat, SaveOutput, SaveRequest},
    kernel::{KernelSelection, KernelSource},
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    cutter::Cutter,
    daemon::{Daemon, part},
    everywhere::kernel,
};

/// Longer than everything takes together.
const BUDGET: Duration = Duration::from_mins(4);

fn request(reference: &str, name: &str) -> PullRequest {
    PullRequest {
        reference: reference.parse().unwrap(),
        name: Some(name.parse().unwrap()),
        kernel: KernelSelection {
            name: Some("linux".parse().unwrap()),
            ..KernelSelection::default()
        },
        size: None,
        containerfile: None,
    }
}

async fn pull(services: &RemoteServices, reference: &str, name: &str) -> Result<Image, PullError> {
    let request = request(reference, name);
    services.images.pull(request, &NoProgress).await
}

/// A service with a kernel, and a client of it.
async fn with_kernel() -> (Daemon, RemoteServices) {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    kernel(&client).await;
    (daemon, RemoteServices::new(client))
}

/// An image of the test bed, as an archive of the client's.
async fn archive(services: &RemoteServices, image: (&str, &str), file: &Utf8Path) -> String {
    let (layout, tag) = image;
    let layout = format!("oci:{}:{tag}", part("BANGER_TESTBED").join(layout));
    pull(services, &layout, layout_name(file)).await.unwrap();
    let request = SaveRequest {
        format: SaveFormat::RootfsTar,
        output: SaveOutput::File(file.to_owned()),
    };
    let name = layout_name(file).into();
    services.images.save(&name, request).await.unwrap();
    format!("rootfs-tar:{file}")
}

fn layout_name(file: &Utf8Path) -> &str {
    file.file_name().unwrap()
}

/// What tells an image's content.
fn content(image: &Image) -> String {
    match &image.origin {
        ImageOrigin::Oci { manifest, .. } => manifest.to_string(),
        other => panic!("{other:?}"),
    }
}

fn left(daemon: &Daemon) -> Vec<Utf8PathBuf> {
    let uploads = daemon.root.join("cache/uploads");
    let entries = uploads.read_dir_utf8().unwrap();
    entries.map(|entry| entry.unwrap().into_path()).collect()
}

/// What comes of a file that is no kernel: the server has read all of it.
async fn import(services: &RemoteServices, file: &Utf8Path) -> String {
    let source = KernelSource::File(file.to_owned());
    let name = Some("none".parse().unwrap());
    let imported = services.kernels.import(&source, name, &NoProgress).await;
    in_words(&imported.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_whole_wherever_its_connection_is_cut() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    let direct = RemoteServices::new(client);
    let file = daemon.root.join("file");
    let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
    fs::write(&file, bytes).unwrap();
    let expected = import(&direct, &file).await;
    assert!(expected.contains(file.as_str()), "{expected}");
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    let mut frames = 1;
    loop {
        cutter.cut(1, frames);
        let client = Client::connect(&cutter.socket, BUDGET).unwrap();
        let services = RemoteServices::new(client);
        let said = import(&services, &file).await;
        assert_eq!(said, expected, "cut after frame {frames}");
        services.settle().await;
        assert_eq!(left(&daemon), [""; 0], "cut after frame {frames}");
        if cutter.cuts() == 0 {
            break;
        }
        frames += 1;
    }
    assert!(20 < frames, "{frames} frames are no exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_read_once_over_connections_that_never_last_and_servers_that_are_killed() {
    let (mut daemon, direct) = with_kernel().await;
    let file = daemon.root.join("large");
    let large = archive(&direct, ("debian", "bookworm"), &file).await;
    let expected = content(&pull(&direct, &large, "whole").await.unwrap());
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    cutter.cut(u64::MAX, 200);
    let (reader, mut writer) = io::pipe().unwrap();
    let bytes = fs::read(&file).unwrap();
    let (half, rest) = (bytes.len() / 2, bytes.len());
    let (go_on, waiting) = std::sync::mpsc::channel();
    let feeder = thread::spawn(move || {
        writer.write_all(&bytes[..half]).unwrap();
        waiting.recv().unwrap();
        writer.write_all(&bytes[half..rest]).unwrap();
    });
    let client = Client::connect(&cutter.socket, BUDGET).unwrap();
    let input = Arc::new(File::from(std::os::fd::OwnedFd::from(reader)));
    let host = Host {
        standard_input: Some(input),
        ..Host::default()
    };
    let services = RemoteServices::on(client, host);
    let killing = async {
        // most of the half is there
        let enough = half as u64 - (8 << 20);
        while !left(&daemon)
            .iter()
            .any(|one| enough < one.metadata().unwrap().len())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        daemon.signal("KILL");
        daemon.wait();
        daemon.again();
        go_on.send(()).unwrap();
    };
    let pulling = pull(&services, "rootfs-tar:-", "piped");
    let (pulled, ()) = tokio::join!(pulling, killing);
    assert_eq!(content(&pulled.unwrap()), expected);
    assert!(1 < cutter.cuts(), "{} cuts", cutter.cuts());
    feeder.join().unwrap();
    assert_eq!(left(&daemon), [""; 0]);

    // one that is given up is removed
    cutter.cut(0, 0);
    let client = Client::connect(&cutter.socket, BUDGET).unwrap();
    let services = RemoteServices::new(client);
    let begun = async {
        while left(&daemon).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        pulled = pull(&services, &large, "given-up") => panic!("{pulled:?}"),
        () = begun => {}
    }
    services.settle().await;
    assert_eq!(left(&daemon), [""; 0]);
}
