//! `vm cp` over a double.

use std::{
    fs,
    io::{Seek as _, Write as _},
};

use banger_core::{domain::VmState, vm::GuestFileKind};

use super::*;
use crate::error::Report;

fn world() -> Arc<World> {
    let world = World::default().with_vm("box", VmState::Running);
    let mut guest = world.guest.lock().unwrap();
    for (path, kind) in [
        ("/", GuestFileKind::Directory),
        ("/dir", GuestFileKind::Directory),
        ("/file", GuestFileKind::Regular),
    ] {
        guest.known.insert(path.to_owned(), kind);
    }
    drop(guest);
    Arc::new(world)
}

async fn with_input(world: &Arc<World>, line: &str, input: &[u8]) -> Outcome {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    let (task, style) = parse(line);
    Stage::new(world, file.into(), style).play(task).await
}

#[tokio::test]
async fn standard_streams_carry_tar_files_exactly() {
    let world = world();
    let input: Vec<u8> = (0..200_000_u32)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    let sent = with_input(&world, "banger --json vm cp -a - box:/dir", &input).await;
    assert_eq!(sent.status(), 0, "{:?}", sent.result);
    let told: serde_json::Value = serde_json::from_str(&sent.stdout).unwrap();
    assert_eq!(told["content_bytes"], input.len());
    assert!(world.guest.lock().unwrap().written == input);
    assert_eq!(world.calls(), ["stat /dir true", "write /dir true"]);
    let got = banger(&world, "banger vm cp box:/dir/. -").await;
    assert_eq!(got.status(), 0, "{:?}", got.result);
    assert!(got.stdout.starts_with('.') && got.stdout.contains("content"));
    assert!(
        got.stderr.contains("2 sockets were left out"),
        "{}",
        got.stderr
    );
}

#[tokio::test]
async fn files_go_where_docker_puts_them() {
    let world = world();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().display().to_string();
    let line = format!("banger vm cp box:/file {root}");
    let copied = banger(&world, &line).await;
    assert_eq!(
        (copied.status(), copied.stdout.as_str()),
        (0, ""),
        "{:?}",
        copied.result
    );
    assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"content");
    let copied = banger(&world, &format!("banger vm cp box:file {root}/new")).await;
    assert_eq!(copied.status(), 0, "{:?}", copied.result);
    assert_eq!(fs::read(scratch.path().join("new")).unwrap(), b"content");
    let copied = banger(&world, &format!("banger vm cp {root}/new box:/dir")).await;
    assert_eq!(copied.status(), 0, "{:?}", copied.result);
    assert_eq!(
        world.calls(),
        [
            "stat /file false",
            "read /file as Some(\"file\")",
            "stat /file false",
            "read /file as Some(\"new\")",
            "stat /dir true",
            "write /dir false",
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_copied_is_told_with_its_status() {
    let world = world();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().display().to_string();
    for (line, status, word) in [
        (format!("cp box:/none {root}"), 3, "/none"),
        (format!("cp box:/dir {root}/no/where"), 3, "/no"),
        (format!("cp {root} box:/file"), 2, "/file"),
        (format!("cp {root}/none box:/dir"), 3, "/none"),
        (format!("cp {root} box:/no/where"), 3, "/no"),
        ("cp - box:/file".to_owned(), 2, "/file"),
        ("cp - box:/none".to_owned(), 3, "/none"),
        (format!("cp other:/file {root}"), 3, "other"),
    ] {
        let outcome = banger(&world, &format!("banger vm {line}")).await;
        assert_eq!(outcome.status(), status, "{line}: {:?}", outcome.result);
        let told = Report::of(outcome.result.as_ref().unwrap_err()).human();
        assert!(told.contains(word), "{line}: {told}");
    }
}
