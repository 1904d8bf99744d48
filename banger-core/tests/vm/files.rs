//! Files between the host and a real guest.

use std::{
    fs::{self, Permissions},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    },
    path::Path,
};

use banger_core::{
    ErrorKind,
    domain::{Bytes, Digest, Selector},
    vm::{
        Copied, CopyError, ExecExit, FileFailure, GuestFileKind, StreamPiece, TreeEvent,
        VmSupervisor as _,
        copy::{CopyOptions, copy_in, copy_out, pack_out, unpack_in},
    },
};
use tokio::sync::mpsc;

use super::fixture::{Host, PATIENCE, block_on, outcome, request};

const KEEP: CopyOptions = CopyOptions {
    keep_owners: true,
    follow_link: false,
};
const PLAIN: CopyOptions = CopyOptions {
    keep_owners: false,
    follow_link: false,
};

async fn put(host: &Host, vm: &Selector, from: &Path, to: &[u8], options: CopyOptions) -> Copied {
    let copied = copy_in(&host.vms, vm, from, to, options).await;
    copied.unwrap().copied
}

async fn get(host: &Host, vm: &Selector, from: &[u8], to: &Path, options: CopyOptions) {
    copy_out(&host.vms, vm, from, to, options).await.unwrap();
}

/// What a shell of the guest prints.
async fn told(host: &Host, vm: &Selector, script: &str) -> String {
    let (exit, stdout, stderr) = host.shell(vm, script).await;
    assert_eq!(exit, ExecExit::Code(0), "{script}: {stderr}");
    stdout
}

async fn started(host: &Host, name: &str) -> Selector {
    let vm = host.create(name).await;
    host.start(&vm).await;
    vm
}

pub(crate) fn both_ways() {
    block_on(async {
        let host = Host::bootable().await;
        let stopped = host.create("files").await;
        let refused = host.vms.stat_path(&stopped, b"/", true).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
        host.start(&stopped).await;
        let vm = stopped;
        single_files(&host, &vm).await;
        a_tree(&host, &vm).await;
        rules(&host, &vm).await;
        whole_root(&host, &vm).await;
        no_shell(&host, &vm).await;
    });
}

/// Neither a shell nor any other program of the image is needed.
async fn no_shell(host: &Host, vm: &Selector) {
    told(host, vm, "rm -r /bin").await;
    host.exec(vm, &["sh"]).await.unwrap_err();
    put(host, vm, Path::new("/bin/busybox"), b"/busybox", PLAIN).await;
    let session = host.exec(vm, &["/busybox", "echo", "ran"]).await.unwrap();
    assert_eq!(outcome(session).await.1, "ran\n");
}

async fn single_files(host: &Host, vm: &Selector) {
    let source = host.root().join("tool");
    fs::write(&source, "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(&source, Permissions::from_mode(0o4755)).unwrap();
    chown(&source, Some(1000), Some(2000)).unwrap();
    fs::set_permissions(&source, Permissions::from_mode(0o4755)).unwrap();
    let copied = put(host, vm, source.as_std_path(), b"/tmp", PLAIN).await;
    assert_eq!((copied.entries, copied.content_bytes), (1, 19));
    let format = "%a %u %g %s";
    assert_eq!(
        told(host, vm, &format!("stat -c '{format}' /tmp/tool")).await,
        "4755 0 0 19\n"
    );
    put(host, vm, source.as_std_path(), b"/tmp/kept", KEEP).await;
    assert_eq!(
        told(host, vm, &format!("stat -c '{format}' /tmp/kept")).await,
        "4755 1000 2000 19\n"
    );
    assert_eq!(told(host, vm, "/tmp/tool").await, "ran\n");
    // a file that runs is replaced, not written to
    put(host, vm, source.as_std_path(), b"/tmp/tool", PLAIN).await;
    assert_eq!(
        told(host, vm, "/tmp/tool; ls -A /tmp").await,
        "ran\nkept\ntool\n"
    );
    told(
        host,
        vm,
        "echo secret > /tmp/none; chmod 0 /tmp/none; chown 7:8 /tmp/none",
    )
    .await;
    let target = host.root().join("none");
    get(host, vm, b"/tmp/none", target.as_std_path(), KEEP).await;
    let found = fs::metadata(&target).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0, 7, 8));
    assert_eq!(fs::read(&target).unwrap(), b"secret\n");
    get(host, vm, b"/tmp/tool", target.as_std_path(), PLAIN).await;
    let found = fs::metadata(&target).unwrap();
    let own = rustix::process::getuid().as_raw();
    // a guest's program does not run as its owner here
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o755, own));
}

async fn a_tree(host: &Host, vm: &Selector) {
    let tree = host.root().join("tree").into_std_path_buf();
    fs::create_dir_all(tree.join("deep/empty")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff\nname");
    fs::write(tree.join(odd), b"odd").unwrap();
    fs::write(tree.join("deep/file"), b"file").unwrap();
    fs::hard_link(tree.join("deep/file"), tree.join("same")).unwrap();
    symlink("/etc/passwd", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("deep/empty"), Permissions::from_mode(0o1700)).unwrap();
    put(host, vm, &tree, b"/tmp", PLAIN).await;
    let script = "cd /tmp/tree; ls -A deep; stat -c '%a %h %F' deep/empty same link; cat odd*; \
        for name in *; do echo \" ${#name}\"; done";
    assert_eq!(
        told(host, vm, script).await,
        "empty\nfile\n1700 2 directory\n644 2 regular file\n777 1 symbolic link\n\
         odd 4\n 4\n 10\n 4\n"
    );
    let back = host.root().join("back").into_std_path_buf();
    get(host, vm, b"/tmp/tree", &back, KEEP).await;
    assert_eq!(fs::read(back.join(odd)).unwrap(), b"odd");
    assert_eq!(
        fs::read_link(back.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let same = fs::metadata(back.join("same")).unwrap();
    assert_eq!(
        same.ino(),
        fs::metadata(back.join("deep/file")).unwrap().ino()
    );
    assert_eq!(
        same.mtime(),
        fs::metadata(tree.join("same")).unwrap().mtime()
    );
    assert_eq!(
        fs::metadata(back.join("deep/empty")).unwrap().mode() & 0o7777,
        0o1700
    );
}

async fn rules(host: &Host, vm: &Selector) {
    let tree = host.root().join("tree").into_std_path_buf();
    // what it holds goes into what is there, or becomes what is not
    told(host, vm, "mkdir /tmp/there; echo mine > /tmp/there/mine").await;
    put(host, vm, &tree.join("."), b"/tmp/there", PLAIN).await;
    put(host, vm, &tree.join("deep/."), b"/tmp/new", PLAIN).await;
    put(host, vm, &tree.join("deep"), b"/tmp/new", PLAIN).await;
    let script = "ls /tmp/there | cat; ls /tmp/new /tmp/new/deep";
    let listed = told(host, vm, script).await;
    assert!(listed.starts_with("deep\nlink\nmine\n"), "{listed}");
    assert!(
        listed.ends_with("/tmp/new:\ndeep\nempty\nfile\n\n/tmp/new/deep:\nempty\nfile\n"),
        "{listed}"
    );
    // links: itself, what it points to, and a destination that is one
    told(
        host,
        vm,
        "cd /tmp; ln -s there way; echo old > target; ln -s target alias",
    )
    .await;
    let out = host.root().join("out").into_std_path_buf();
    fs::create_dir(&out).unwrap();
    get(host, vm, b"/tmp/way", &out, PLAIN).await;
    assert_eq!(fs::read_link(out.join("way")).unwrap(), Path::new("there"));
    fs::remove_file(out.join("way")).unwrap();
    let follow = CopyOptions {
        follow_link: true,
        ..PLAIN
    };
    get(host, vm, b"/tmp/way", &out, follow).await;
    assert_eq!(fs::read(out.join("way/mine")).unwrap(), b"mine\n");
    put(host, vm, &tree.join("same"), b"/tmp/alias", PLAIN).await;
    assert_eq!(
        told(host, vm, "cat /tmp/target; stat -c %F /tmp/alias").await,
        "filesymbolic link\n"
    );
}

/// All of a guest, without what is mounted in it; devices are named.
async fn whole_root(host: &Host, vm: &Selector) {
    let mut stream = pack_out(&host.vms, vm, b"/", PLAIN).await.unwrap();
    let mut content = Vec::new();
    let read = loop {
        match stream.events.recv().await.unwrap().unwrap() {
            TreeEvent::Data(bytes) => content.extend_from_slice(&bytes),
            TreeEvent::End(read) => break read,
        }
    };
    assert!(3 <= read.mounts_left_out, "{read:?}");
    let mut archive = tar::Archive::new(&content[..]);
    let paths = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let paths: Vec<String> = paths.collect();
    assert!(paths.contains(&"./etc/passwd".to_owned()) && paths.contains(&"./proc/".to_owned()));
    assert!(!paths.iter().any(|path| path.starts_with("./proc/s")));
    let found = host.vms.stat_path(vm, b"/proc/self", false).await.unwrap();
    assert_eq!(found.kind, GuestFileKind::Symlink);
    let target = host.root().join("version");
    get(host, vm, b"/proc/version", target.as_std_path(), PLAIN).await;
    assert!(
        fs::read_to_string(&target)
            .unwrap()
            .starts_with("Linux version")
    );
}

pub(crate) fn refusals() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = started(&host, "refusing").await;
        let file = host.root().join("file").into_std_path_buf();
        fs::write(&file, "x").unwrap();
        paths(&host, &vm, &file).await;
        streams(&host, &vm).await;
        hostile_guest(&host, &vm).await;
        let told = told(&host, &vm, "ls -A /tmp; cat /etc/notes").await;
        assert_eq!(told, "inside\nnot a program\n");
    });
}

async fn paths(host: &Host, vm: &Selector, file: &Path) {
    let long = vec![b'a'; 100_000];
    for (path, kind) in [
        (&b"/no/where"[..], ErrorKind::NotFound),
        (b"/etc/passwd/x", ErrorKind::Conflict),
        (b"/etc/passwd/", ErrorKind::Conflict),
        (b"/tmp/no/", ErrorKind::NotFound),
        (&long, ErrorKind::ResourceExhausted),
        (b"/a\0b", ErrorKind::InvalidInput),
    ] {
        let refused = copy_in(&host.vms, vm, file, path, PLAIN).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{:?}: {refused:?}", path.get(..20));
        assert!(refused.to_string().len() < 2000);
    }
    let directory = file.parent().unwrap();
    let refused = copy_in(&host.vms, vm, &directory.join("tree"), b"/tmp", PLAIN)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let missing = copy_out(&host.vms, vm, b"/none", directory, PLAIN)
        .await
        .unwrap_err();
    assert!(
        matches!(&missing, CopyError::Guest { failure: FileFailure::NotFound, message, .. } if message.contains("/none")),
        "{missing:?}"
    );
    let taken = copy_out(&host.vms, vm, b"/etc", file, PLAIN)
        .await
        .unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::InvalidInput, "{taken:?}");
    let readonly = copy_in(&host.vms, vm, file, b"/proc/new", PLAIN)
        .await
        .unwrap_err();
    assert!(readonly.to_string().contains("new"), "{readonly}");
}

/// Unpacks bytes in the guest.
async fn unpack(
    host: &Host,
    vm: &Selector,
    bytes: &[u8],
    whole: bool,
) -> Result<Copied, CopyError> {
    let (sender, pieces) = mpsc::channel(1);
    let sending = async move {
        for chunk in bytes.chunks(1 << 16) {
            let piece = StreamPiece::Data(bytes::Bytes::copy_from_slice(chunk));
            if sender.send(piece).await.is_err() {
                return;
            }
        }
        if whole {
            drop(sender.send(StreamPiece::End).await);
        }
    };
    let unpacking = unpack_in(&host.vms, vm, b"/tmp", false, pieces);
    let (outcome, ()) = tokio::join!(unpacking, sending);
    outcome
}

async fn streams(host: &Host, vm: &Selector) {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    archive.append_link(&mut header, "escape", "/etc").unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    archive
        .append_data(&mut header, "escape/notes", &[][..])
        .unwrap();
    let escape = archive.into_inner().unwrap();
    let refused = unpack(host, vm, &escape, true).await.unwrap_err();
    assert!(
        matches!(&refused, CopyError::Guest { failure: FileFailure::Invalid, message, .. } if message.contains("escape/notes")),
        "{refused:?}"
    );
    told(host, vm, "cd /tmp; ls -A; rm -f escape").await;
    let garbage = unpack(host, vm, &[b'x'; 4096], true).await.unwrap_err();
    assert_eq!(garbage.kind(), ErrorKind::InvalidInput, "{garbage:?}");
    let mut archive = tar::Builder::new(Vec::new());
    header.set_size(5);
    archive
        .append_data(&mut header, "inside", &b"whole"[..])
        .unwrap();
    let stream = archive.into_inner().unwrap();
    let abandoned = unpack(host, vm, &stream, false).await.unwrap_err();
    assert!(matches!(abandoned, CopyError::Abandoned), "{abandoned:?}");
    assert_eq!(unpack(host, vm, &stream, true).await.unwrap().entries, 1);
}

/// A guest's links do not lead out of the host's directory.
async fn hostile_guest(host: &Host, vm: &Selector) {
    let target = host.root().join("from-guest").into_std_path_buf();
    let outside = host.root().join("outside").into_std_path_buf();
    fs::create_dir_all(&target).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, target.join("etc")).unwrap();
    let refused = copy_out(&host.vms, vm, b"/etc", &target, PLAIN)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let device = copy_out(&host.vms, vm, b"/dev/null", &target, PLAIN)
        .await
        .unwrap_err();
    assert!(device.to_string().contains("device"), "{device}");
}

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(length + 8);
    while noise.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(length);
    noise
}

pub(crate) fn full_and_large() {
    block_on(async {
        let host = Host::bootable().await;
        let mut wanted = request("large");
        wanted.disk_size = Bytes::from_mib(160);
        host.make(wanted).await;
        let vm = Selector::from("large");
        host.start(&vm).await;
        let content = noise(64 << 20);
        let large = host.root().join("large").into_std_path_buf();
        fs::write(&large, &content).unwrap();
        put(&host, &vm, &large, b"/large", PLAIN).await;
        let sum = told(&host, &vm, "sha256sum /large").await;
        assert_eq!(
            sum.split(' ').next().unwrap(),
            Digest::of(&content).to_hex()
        );
        let back = host.root().join("back").into_std_path_buf();
        get(&host, &vm, b"/large", &back, PLAIN).await;
        assert!(fs::read(&back).unwrap() == content);
        put(&host, &vm, &large, b"/again", PLAIN).await;
        let full = copy_in(&host.vms, &vm, &large, b"/large", PLAIN)
            .await
            .unwrap_err();
        assert!(
            matches!(
                &full,
                CopyError::Guest {
                    failure: FileFailure::NoSpace,
                    ..
                }
            ),
            "{full:?}"
        );
        assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
        // the old file is there, and nothing of the new one
        let script = "sha256sum /large; ls -A / | grep banger";
        assert_eq!(host.shell(&vm, script).await.1, sum);
    });
}

pub(crate) fn given_up() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = started(&host, "fickle").await;
        let large = host.root().join("large").into_std_path_buf();
        fs::write(&large, noise(32 << 20)).unwrap();
        {
            let copying = copy_in(&host.vms, &vm, &large, b"/tmp/large", PLAIN);
            let begun = tokio::time::timeout(std::time::Duration::from_millis(300), copying);
            assert!(begun.await.is_err(), "it was given up too late");
        }
        assert_eq!(told(&host, &vm, "ls -A /tmp").await, "");
        put(&host, &vm, &large, b"/tmp/large", PLAIN).await;
        let target = host.root().join("target").into_std_path_buf();
        fs::create_dir(&target).unwrap();
        {
            let copying = copy_out(&host.vms, &vm, b"/tmp/large", &target, PLAIN);
            let begun = tokio::time::timeout(std::time::Duration::from_millis(300), copying);
            assert!(begun.await.is_err(), "it was given up too late");
        }
        host.wait_until("nothing half made is left", async |_| {
            fs::read_dir(&target).unwrap().count() == 0
        })
        .await;
        // a VM that ends takes its copies with it
        let copying = async {
            let (sender, pieces) = mpsc::channel(1);
            let outcome =
                tokio::time::timeout(PATIENCE, unpack_in(&host.vms, &vm, b"/tmp", false, pieces));
            let outcome = outcome.await;
            drop(sender);
            outcome.expect("it ends with its VM").unwrap_err()
        };
        let killing = async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            host.vms.kill(&vm).await.unwrap();
        };
        let (lost, ()) = tokio::join!(copying, killing);
        assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost:?}");
    });
}
