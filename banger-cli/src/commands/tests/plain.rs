//! The commands that only ask and print.

use banger_core::domain::VmState;

use super::*;
use crate::error::Report;

/// What a user is told about a command that failed.
fn told(outcome: &Outcome) -> String {
    Report::of(outcome.result.as_ref().unwrap_err()).human()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn empty_lists_are_empty_arrays_and_bare_heads() {
    let world = Arc::new(World::default());
    for object in ["image", "kernel", "vm"] {
        let outcome = banger(&world, &format!("banger {object} list --json")).await;
        assert_eq!(
            (outcome.status(), outcome.stdout.as_str()),
            (0, "[]\n"),
            "{object}"
        );
        let outcome = banger(&world, &format!("banger {object} list")).await;
        assert!(
            outcome.stdout.starts_with("NAME "),
            "{object}: {}",
            outcome.stdout
        );
        assert_eq!(outcome.stdout.lines().count(), 1, "{object}");
    }
}

#[tokio::test]
async fn a_pull_takes_the_only_kernel_and_prints_the_name() {
    let world = Arc::new(World::default().with_kernels(&["only"]));
    let outcome = banger(
        &world,
        "banger image pull docker.io/library/debian:bookworm --name d",
    )
    .await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (0, "d\n"));
    assert_eq!(
        world.calls(),
        [
            "list kernels",
            "pull docker.io/library/debian:bookworm only"
        ]
    );
    let chosen = banger(
        &world,
        "banger image pull docker.io/x/y:1 --kernel z --json",
    )
    .await;
    assert_eq!(json(&chosen.stdout)["name"], "y-1");
    assert_eq!(
        world.calls().last().map(String::as_str),
        Some("pull docker.io/x/y:1 z")
    );
}

#[tokio::test]
async fn files_are_registered_by_absolute_paths_and_with_the_only_kernel() {
    let world = Arc::new(World::default().with_kernels(&["only"]));
    let outcome = banger(&world, "banger image register mine --rootfs /a/disk.ext4").await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (0, "mine\n"));
    assert_eq!(
        world.calls(),
        ["list kernels", "register /a/disk.ext4 only"]
    );
}

#[tokio::test]
async fn a_registered_image_is_promoted_and_a_managed_one_is_not() {
    let world = Arc::new(
        World::default()
            .with_image("managed", "r")
            .with_kernels(&["k"]),
    );
    banger(&world, "banger image register mine --rootfs /a/disk.ext4").await;
    let outcome = banger(&world, "banger image promote mine").await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (0, "mine\n"));
    let refused = banger(&world, "banger image promote managed").await;
    assert_eq!(refused.status(), 4);
}

#[tokio::test]
async fn a_kernel_is_imported_and_shown() {
    let world = Arc::new(World::default().with_kernels(&["k"]));
    let outcome = banger(&world, "banger kernel import apt:linux-image-cloud-amd64").await;
    assert_eq!(outcome.stdout, "linux-6.1\n");
    let shown = banger(&world, "banger kernel show k --json").await;
    assert_eq!(json(&shown.stdout)["version"], "6.1");
    assert_eq!(banger(&world, "banger kernel show x").await.status(), 3);
}

#[tokio::test]
async fn deleting_several_goes_on_after_a_failure() {
    let world = World::default()
        .with_vm("a", VmState::Running)
        .with_vm("b", VmState::Stopped);
    let world = Arc::new(world);
    let outcome = banger(&world, "banger vm delete a missing b").await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (4, "b\n"));
    assert_eq!(
        outcome.stderr,
        "banger: VM a is running: stop it first, or force the deletion\n\
         hint: `banger vm delete --force a`\n\
         banger: VM missing does not exist\nhint: `banger vm list` shows the VMs\n"
    );
    let forced = banger(&world, "banger vm delete --force --json a").await;
    assert_eq!(forced.status(), 0);
    assert_eq!(json(&forced.stdout)[0]["name"], "a");
    let kernel = banger(&world, "banger kernel rm k --json").await;
    assert_eq!((kernel.status(), kernel.stdout.as_str()), (4, "[]\n"));
    assert_eq!(json(&kernel.stderr)["error"]["kind"], "conflict");
}

#[tokio::test]
async fn a_vm_is_created_started_shown_and_stopped() {
    let world = Arc::new(World::default().with_image("i", "docker.io/x/i:1"));
    assert_eq!(
        banger(&world, "banger vm create --name v i").await.stdout,
        "v\n"
    );
    assert_eq!(banger(&world, "banger vm start v").await.stdout, "v\n");
    let shown = banger(&world, "banger vm show v --json").await;
    assert_eq!(json(&shown.stdout)["state"], "running");
    assert!(
        banger(&world, "banger vm show v")
            .await
            .stdout
            .contains("image:          i\n")
    );
    assert_eq!(
        banger(&world, "banger vm stop v --grace 3").await.stdout,
        "v\n"
    );
    assert_eq!(world.calls()[..2], ["create Detached", "start Detached"]);
    assert!(world.calls().contains(&"stop 3s".to_owned()));
}

#[tokio::test]
async fn a_vm_is_paused_and_measured() {
    let world = Arc::new(World::default().with_vm("a", VmState::Running));
    let paused = banger(&world, "banger vm pause a --json").await;
    assert_eq!(json(&paused.stdout)["state"], "paused");
    let stats = banger(&world, "banger vm stats").await;
    assert_eq!(stats.status(), 0);
    let row: Vec<&str> = stats.stdout.lines().nth(1).unwrap().split("  ").collect();
    assert_eq!(row[0], "a", "{}", stats.stdout);
    assert!(stats.stdout.contains("2.0 KiB"), "{}", stats.stdout);
    let stats = banger(&world, "banger vm stats a --json").await;
    let running = &json(&stats.stdout)[0]["running"];
    assert_eq!(running["cpu_milliseconds"], 1250);
    assert_eq!(running["machine"]["exits"], 7);
    assert!(running["machine"]["disk_reads"].is_null(), "{running}");
    let resumed = banger(&world, "banger vm resume a --json").await;
    assert_eq!(json(&resumed.stdout)["state"], "running");
    banger(&world, "banger vm stop a").await;
    let refused = banger(&world, "banger vm pause a").await;
    assert_eq!(
        (refused.status(), told(&refused).as_str()),
        (4, "banger: VM a is stopped: it does not run\n")
    );
}

#[tokio::test]
async fn a_vm_is_kept_and_gone_on_from() {
    let world = World::default()
        .with_vm("a", VmState::Running)
        .with_vm("b", VmState::Stopped);
    let world = Arc::new(world);
    let refused = banger(&world, "banger vm snapshot b").await;
    assert_eq!(
        (refused.status(), told(&refused).as_str()),
        (
            4,
            "banger: VM b is stopped: only one that runs can be kept\nhint: start it: `banger vm start b`\n"
        )
    );
    let kept = banger(&world, "banger vm snapshot a").await;
    let id = kept.stdout.trim();
    let restored = banger(&world, &format!("banger vm restore {id} -n c -p 8080:80")).await;
    assert_eq!(restored.stdout, "c\n");
    let alone = format!("banger vm restore {id} -n d --publish-none");
    banger(&world, &alone).await;
    let as_before = format!("banger vm restore {id} -n e");
    banger(&world, &as_before).await;
    let calls = world.calls();
    let asked: Vec<_> = calls
        .iter()
        .filter(|call| call.starts_with("restore"))
        .collect();
    assert!(asked[0].contains("8080"), "{asked:?}");
    assert_eq!(asked[1..], ["restore Some([])", "restore None"]);
    let listed = banger(&world, "banger snapshot ls --json").await;
    assert_eq!(json(&listed.stdout)[0]["vm"], "a");
    let shown = banger(&world, &format!("banger snapshot show {id}")).await;
    assert!(shown.stdout.contains(id), "{}", shown.stdout);
    let deleted = banger(&world, &format!("banger snapshot rm {id}")).await;
    assert_eq!(deleted.stdout.trim(), id);
    let gone = banger(&world, &format!("banger vm restore {id} -n f")).await;
    assert_eq!(gone.status(), 3);
    assert!(
        told(&gone).contains("`banger snapshot list`"),
        "{}",
        told(&gone)
    );
}

#[tokio::test]
async fn a_vm_is_restarted_killed_and_waited_for() {
    let world = World::default()
        .with_vm("a", VmState::Running)
        .with_vm("b", VmState::Failed);
    let world = Arc::new(world);
    let late = banger(&world, "banger vm wait a --timeout 2").await;
    assert_eq!((late.status(), late.stdout.as_str()), (6, ""));
    assert_eq!(
        told(&late),
        "banger: VM a did not end within 2s\nhint: `banger vm show a` says what it does\n"
    );
    let again = banger(&world, "banger vm restart a --grace 3").await;
    assert_eq!((again.status(), again.stdout.as_str()), (0, "a\n"));
    let killed = banger(&world, "banger vm kill a --json").await;
    assert_eq!(json(&killed.stdout)["state"], "stopped");
    let twice = banger(&world, "banger vm kill a").await;
    assert_eq!(
        (twice.status(), told(&twice).as_str()),
        (4, "banger: VM a is stopped: it does not run\n")
    );
    let ended = banger(&world, "banger vm wait a").await;
    assert_eq!((ended.status(), ended.stdout.as_str()), (0, "stopped\n"));
    let failed = banger(&world, "banger vm wait b --json").await;
    assert_eq!(
        (failed.status(), json(&failed.stdout)["state"].as_str()),
        (1, Some("failed"))
    );
    let calls = [
        "wait Some(2s)",
        "restart 3s",
        "kill",
        "kill",
        "wait None",
        "wait None",
    ];
    assert_eq!(world.calls(), calls);
}

#[tokio::test]
async fn a_vm_is_changed() {
    let world = Arc::new(World::default().with_vm("a", VmState::Running));
    let line = "banger vm set a --cpus 2 -m 1G --label k=v --remove-label old";
    let changed = banger(&world, line).await;
    assert_eq!((changed.status(), changed.stdout.as_str()), (0, "a\n"));
    let asked = world.calls().concat();
    for part in [
        "vcpus: Some(2)",
        "disk_size: None",
        "{\"k\": \"v\"}",
        "{\"old\"}",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
    let refused = banger(&world, "banger vm set a --disk 8G").await;
    assert_eq!(refused.status(), 4);
    assert!(told(&refused).contains("`banger vm stop a`"));
}

#[tokio::test]
async fn a_prune_of_vms_says_what_went_and_what_did_not() {
    let world = World::default()
        .with_vm("done", VmState::Stopped)
        .with_vm("busy", VmState::Failed);
    let world = Arc::new(world);
    let line = "banger vm prune --older-than 1h --label a --label b=c";
    let pruned = banger(&world, line).await;
    assert_eq!(
        (pruned.status(), pruned.stdout.as_str()),
        (4, "done\nfreed 5.0 MiB\n")
    );
    assert_eq!(
        pruned.stderr,
        "banger: VM busy is being worked on by another call\n"
    );
    let asked = world.calls().concat();
    for part in ["3600s", "value: None", "Some(\"c\")", "dry_run: false"] {
        assert!(asked.contains(part), "{asked}");
    }
    let dry = banger(&world, "banger vm prune --dry-run --json").await;
    let dry = json(&dry.stdout);
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["removed"][0]["name"], "done");
}

#[tokio::test]
async fn events_are_lines_and_lead_on() {
    let world = World::default()
        .with_vm("a", VmState::Stopped)
        .with_vm("b", VmState::Failed);
    let world = Arc::new(world);
    let all = banger(&world, "banger vm events").await;
    assert_eq!(
        (all.status(), all.stdout.as_str()),
        (
            0,
            "3 1970-01-01 00:00:00Z a changed stopped: so it is\n\
             4 1970-01-01 00:00:00Z b changed failed: so it is\n"
        )
    );
    let later = banger(&world, "banger vm events --after 3 --json").await;
    assert_eq!(later.stdout.lines().count(), 1);
    let later = json(&later.stdout);
    assert_eq!(
        (&later["number"], &later["exit"]["kind"]),
        (&4.into(), &"forced".into())
    );
    let one = banger(&world, "banger vm events a").await;
    assert_eq!(one.stdout.lines().count(), 1);
    let forgotten = banger(&world, "banger vm events --after 1").await;
    assert_eq!(forgotten.status(), 3);
    assert!(told(&forgotten).contains("the oldest that is kept is 3"));
}

#[tokio::test]
async fn a_console_log_is_passed_byte_by_byte() {
    let world = Arc::new(World::default().with_vm("v", VmState::Running));
    let (task, style) = parse("banger vm logs v --tail 5 --follow");
    let mut stage = Stage::new(&world, null(), style);
    let status = carry_out(&stage.context, &mut stage.signals, task)
        .await
        .unwrap();
    drop(stage.context);
    let mut bytes = Vec::new();
    stage.stdout.read_to_end(&mut bytes).await.unwrap();
    assert_eq!((status, bytes.as_slice()), (0, &b"boot\r\n\xff"[..]));
    assert_eq!(world.calls(), ["logs Some(5) true"]);
}

#[tokio::test]
async fn a_reader_that_went_away_is_a_broken_pipe() {
    let world = Arc::new(World::default());
    let (task, style) = parse("banger image list");
    let mut stage = Stage::new(&world, null(), style);
    drop(stage.stdout);
    let error = carry_out(&stage.context, &mut stage.signals, task)
        .await
        .unwrap_err();
    assert!(error.is_broken_pipe(), "{error:?}");
}

#[tokio::test]
async fn an_image_is_saved_to_an_absolute_path_and_losses_are_told() {
    let world = Arc::new(World::default().with_image("mine", "docker.io/library/a:b"));
    let line = "banger image save mine -o /o/a.tar --format docker-archive";
    let outcome = banger(&world, line).await;
    assert_eq!(
        (outcome.status(), outcome.stdout.as_str()),
        (0, "/o/a.tar\n")
    );
    assert!(outcome.stderr.contains("2 sockets"), "{}", outcome.stderr);
    assert_eq!(
        world.calls(),
        ["save mine docker-archive /o/a.tar", "show image mine"]
    );
    let saved = banger(&world, &format!("{line} --json")).await;
    assert_eq!(json(&saved.stdout)["bytes"], 1 << 20);
    let missing = banger(&world, "banger image save other -o /o/a.tar").await;
    assert_eq!(missing.status(), 3);
}

#[tokio::test]
async fn a_prune_says_what_went_and_how_much() {
    let world = Arc::new(World::default());
    let outcome = banger(&world, "banger image prune --older-than 7d --max-size 1G").await;
    let digest = banger_core::domain::Digest::of(b"old");
    let expected = format!("{digest} 3.0 MiB (partial)\nfreed 3.0 MiB, 2.0 MiB stay\n");
    assert_eq!((outcome.status(), outcome.stdout), (0, expected));
    let outcome = banger(&world, "banger image prune --dry-run --all --json").await;
    let output = json(&outcome.stdout);
    assert_eq!(output["dry_run"], true);
    assert_eq!(output["removed"][0]["bytes"], 3 << 20);
    let calls = world.calls();
    assert!(calls[0].contains("604800s") && calls[0].contains("dry_run: false"));
    assert!(calls[1].contains("all: true"), "{calls:?}");
}

#[tokio::test]
async fn volumes_are_made_listed_and_deleted() {
    let world = Arc::new(World::default());
    let made = banger(&world, "banger volume create data --size 64").await;
    assert_eq!((made.status(), made.stdout.as_str()), (0, "data\n"));
    let twice = banger(&world, "banger volume create data").await;
    assert_eq!(twice.status(), exit::CONFLICT);
    let listed = banger(&world, "banger volume ls").await;
    assert!(
        listed.stdout.contains("data  64.0 MiB"),
        "{}",
        listed.stdout
    );
    let shown = banger(&world, "banger --json volume show data").await;
    assert_eq!(json(&shown.stdout)["size_bytes"], 67_108_864);
    let deleted = banger(&world, "banger volume rm data missing").await;
    assert_eq!(
        (deleted.status(), deleted.stdout.as_str()),
        (exit::NOT_FOUND, "data\n")
    );
}
