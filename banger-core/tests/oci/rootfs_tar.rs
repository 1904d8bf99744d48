//! Trees in tar files as images, from files and from standard input.

use std::{
    fs::{self, File},
    io::Write as _,
    sync::Arc,
    thread,
};

use banger_core::{ErrorKind, oci::ImageSources as _};

use super::{
    archives::{Bench, chain, run, tree},
    world::amd64,
};

fn a_tree() -> Vec<u8> {
    tree(&[("bin/sh", b"a shell"), ("big", &vec![7; 3_000_000])])
}

#[tokio::test]
async fn a_tree_gives_one_disk_however_it_is_packed() {
    let bench = Bench::new();
    let plain = bench.path("tree.tar");
    fs::write(&plain, a_tree()).unwrap();
    let expected = bench.disk(&format!("rootfs-tar:{plain}")).await.unwrap();
    for (program, end) in [("gzip", "gz"), ("zstd", "zst")] {
        run(program, &["-k", plain.as_str()]);
        let disk = bench.disk(&format!("rootfs-tar:{plain}.{end}")).await;
        assert_eq!(disk.unwrap(), expected, "{program}");
    }
    bench.nothing_is_cached();
}

#[tokio::test]
async fn a_tree_runs_a_shell() {
    let bench = Bench::new();
    let plain = bench.path("tree.tar");
    fs::write(&plain, a_tree()).unwrap();
    let reference = format!("rootfs-tar:{plain}").parse().unwrap();
    let source = bench.options.open(&reference).unwrap();
    let image = source.resolve(&amd64()).await.unwrap();
    assert_eq!(image.run_config.cmd, ["/bin/sh"]);
    assert_eq!(image.layers[0].digest, image.layers[0].diff_id);
    assert_eq!(image.manifest, image.layers[0].digest);
}

#[tokio::test]
async fn standard_input_may_be_a_file_or_a_pipe() {
    let mut bench = Bench::new();
    let plain = bench.path("tree.tar");
    fs::write(&plain, a_tree()).unwrap();
    let expected = bench.disk(&format!("rootfs-tar:{plain}")).await.unwrap();
    bench.options.standard_input = Some(Arc::new(File::open(&plain).unwrap()));
    assert_eq!(bench.disk("rootfs-tar:-").await.unwrap(), expected);
    let (reader, mut writer) = std::io::pipe().unwrap();
    bench.options.standard_input = Some(Arc::new(File::from(std::os::fd::OwnedFd::from(reader))));
    let writing = thread::spawn(move || writer.write_all(&a_tree()).unwrap());
    assert_eq!(bench.disk("rootfs-tar:-").await.unwrap(), expected);
    writing.join().unwrap();
    bench.nothing_is_cached();
}

#[tokio::test]
async fn a_pipe_that_never_ends_does_not_hold_up_a_caller_that_gave_up() {
    let mut bench = Bench::new();
    let (reader, _writer) = std::io::pipe().unwrap();
    bench.options.standard_input = Some(Arc::new(File::from(std::os::fd::OwnedFd::from(reader))));
    let patience = std::time::Duration::from_millis(300);
    let given_up = tokio::time::timeout(patience, bench.disk("rootfs-tar:-")).await;
    assert!(given_up.is_err());
    bench.nothing_is_cached();
    // the runtime's end waits for the thread that reads
}

#[tokio::test]
async fn what_is_no_tree_is_refused() {
    let bench = Bench::new();
    let cut = a_tree();
    for (name, bytes, kind) in [
        ("nothing", &b""[..], ErrorKind::Corrupt),
        ("zeros", &[0; 10_240], ErrorKind::Corrupt),
        ("noise", &[b'x'; 5000], ErrorKind::Corrupt),
        ("cut", &cut[..100_000], ErrorKind::Corrupt),
        ("xz", b"\xfd7zXZ\0\0", ErrorKind::Unsupported),
        ("cut gzip", b"\x1f\x8b\x08\0\0\0", ErrorKind::Corrupt),
    ] {
        let path = bench.path("bad.tar");
        fs::write(&path, bytes).unwrap();
        let error = bench.disk(&format!("rootfs-tar:{path}")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {}", chain(&error));
        bench.nothing_is_cached();
    }
    let error = bench.disk("rootfs-tar:-").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", chain(&error));
}
