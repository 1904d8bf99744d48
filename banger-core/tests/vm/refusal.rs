//! What fails says where and why, and leaves the VM usable.

use std::{fs, time::Duration};

use banger_core::{
    ErrorKind,
    domain::{Bytes, Selector, VmChangeKind, VmState},
    progress::NoProgress,
    vm::{
        CreateVmError, DEFAULT_BOOT_DEADLINE, LabelFilter, Lifetime, PruneVms, StartVmError,
        VmChangesError, VmSupervisor as _,
    },
    vmm::VmmPrograms,
};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::fixture::{Host, block_on, request};

pub(crate) fn a_broken_disk() {
    block_on(async {
        let host = Host::bootable().await;
        fs::write(host.root().join("rootfs.ext4"), vec![0; 1 << 20]).unwrap();
        let vm = host.create("broken").await;
        let failed = host
            .vms
            .start(&vm, Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        let StartVmError::BootFailed {
            stage,
            console_tail,
            ..
        } = &failed
        else {
            panic!("{failed:?}");
        };
        assert_eq!(stage, "root", "{console_tail}");
        assert!(
            console_tail.contains("banger-guest: stage root failed"),
            "{console_tail}"
        );
        let shown = host.vms.show(&vm).await.unwrap();
        assert_eq!(shown.state, VmState::Failed);
        assert!(shown.reason.contains("stage root"), "{}", shown.reason);
        assert!(host.console(&vm).await.contains("stage root failed"));
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

pub(crate) fn a_vmm_that_dies() {
    block_on(async {
        let host = Host::with_fake_vmm("echo console line; echo no such machine >&2; exit 3").await;
        let vm = host.create("fatal").await;
        let failed = host
            .vms
            .start(&vm, Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        let StartVmError::BootFailed {
            stage,
            cause,
            console_tail,
            ..
        } = &failed
        else {
            panic!("{failed:?}");
        };
        assert_eq!(
            (stage.as_str(), console_tail.as_str()),
            ("kernel", "console line\n")
        );
        assert!(cause.contains("exit status: 3: no such machine"), "{cause}");
        assert_eq!(host.state(&vm).await, VmState::Failed);
        // a failed VM may be started again, and removes itself if it was told so
        let mut bound = request("once");
        bound.remove_on_stop = true;
        let once = host.make(bound).await;
        let selector = once.name.as_str().into();
        host.vms
            .start(&vm, Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        host.vms
            .start(&selector, Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        host.assert_nothing_left(&once).await;
    });
}

pub(crate) fn a_silent_vmm() {
    block_on(async {
        let host = Host::with_fake_vmm("trap '' TERM; while :; do sleep 600; done").await;
        let vm = host.create("silent").await;
        let hasty = host.supervisor(Duration::from_millis(300), |_| ());
        let failed = hasty
            .start(&vm, Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        let StartVmError::BootFailed { stage, cause, .. } = &failed else {
            panic!("{failed:?}");
        };
        assert_eq!(stage, "machine");
        assert!(cause.contains("did not answer within 300ms"), "{cause}");
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

pub(crate) fn a_useless_monitor() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 1").await;
        let vm = host.create("unwatched").await;
        for (program, expected) in [
            ("/nowhere/monitor", "could not be started"),
            ("/bin/false", "exit status: 1"),
        ] {
            let vms = host.supervisor(DEFAULT_BOOT_DEADLINE, |options| {
                options.monitor.program = program.into();
            });
            let failed = vms
                .start(&vm, Lifetime::Detached, &NoProgress)
                .await
                .unwrap_err();
            assert!(matches!(failed, StartVmError::Monitor { .. }), "{failed:?}");
            assert!(failed.to_string().contains(expected), "{failed}");
            assert_eq!(host.state(&vm).await, VmState::Created);
        }
    });
}

pub(crate) fn early_refusals() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 1").await;
        let without = host.supervisor(DEFAULT_BOOT_DEADLINE, |options| {
            options.vmm = VmmPrograms::default();
        });
        let refused = without
            .create(request("none"), Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        assert!(matches!(refused, CreateVmError::Backend(_)), "{refused:?}");
        let mut small = request("small");
        small.memory = Bytes::from_mib(1);
        let refused = host.refused(small).await;
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let mut imageless = request("imageless");
        imageless.image = "nothing".into();
        let refused = host.refused(imageless).await;
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert!(!host.directories.vms().exists(), "nothing was made");

        let vm = host.create("taken").await;
        let refused = host.refused(request("taken")).await;
        assert!(matches!(refused, CreateVmError::AlreadyExists { .. }));
        let mut unnamed = request("unnamed");
        unnamed.name = None;
        let unnamed = host.make(unnamed).await;
        assert!(unnamed.name.as_str().contains('-'));
        assert_eq!(fs::read_dir(host.directories.vms()).unwrap().count(), 2);

        let deep = host.supervisor(DEFAULT_BOOT_DEADLINE, |options| {
            options.directories.runtime = format!("/{}", "r".repeat(100)).into();
        });
        let refused = deep
            .start(&vm, Lifetime::Detached, &NoProgress)
            .await
            .unwrap_err();
        assert_eq!(host.state(&vm).await, VmState::Created);
        let cause = std::error::Error::source(&refused).and_then(|error| error.source());
        assert!(
            cause
                .unwrap()
                .to_string()
                .contains("shorter runtime directory")
        );
    });
}

/// What failed goes by a prune, with its files; what never ran stays.
pub(crate) fn a_prune() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 3").await;
        let kept = host.create("kept").await;
        let failed = host.create("failed").await;
        let start = host.vms.start(&failed, Lifetime::Detached, &NoProgress);
        start.await.unwrap_err();
        let record = host.vms.show(&failed).await.unwrap();
        let prune = |labels: Vec<LabelFilter>, dry_run| {
            let request = PruneVms {
                labels,
                dry_run,
                ..PruneVms::default()
            };
            host.vms.prune(request)
        };
        let label = LabelFilter {
            key: "team".to_owned(),
            value: None,
        };
        let none = prune(vec![label], false).await.unwrap();
        assert!(none.removed.is_empty() && none.failed.is_empty());
        let dry = prune(Vec::new(), true).await.unwrap();
        assert_eq!(dry.removed, std::slice::from_ref(&record));
        assert!(Bytes::new(0) < dry.freed);
        assert_eq!(host.state(&failed).await, VmState::Failed);
        let pruned = prune(Vec::new(), false).await.unwrap();
        assert_eq!((pruned.removed, pruned.freed), (dry.removed, dry.freed));
        assert_eq!(host.state(&kept).await, VmState::Created);
        host.assert_nothing_left(&record).await;
    });
}

/// Every change of every VM has a number; pages lead on, and too old ones are
/// refused.
pub(crate) fn what_happened() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 3").await;
        let doomed = host.create("doomed").await;
        let id = host.vms.show(&doomed).await.unwrap().id;
        let start = host.vms.start(&doomed, Lifetime::Detached, &NoProgress);
        start.await.unwrap_err();
        host.create("other").await;
        host.vms.delete(&doomed, false).await.unwrap();
        let gone = Selector::from(id.to_string().as_str());
        let history = host.vms.changes(Some(&gone), None).await.unwrap();
        let states: Vec<_> = history.iter().map(|change| change.state.as_str()).collect();
        let expected = [
            "creating", "created", "starting", "failed", "deleting", "deleting",
        ];
        assert_eq!(states, expected);
        assert_eq!(history.first().unwrap().kind, VmChangeKind::Created);
        assert_eq!(history.last().unwrap().kind, VmChangeKind::Removed);
        assert!(
            history
                .iter()
                .is_sorted_by(|one, next| one.sequence < next.sequence)
        );
        let named = host.vms.changes(Some(&doomed), None).await.unwrap_err();
        assert_eq!(named.kind(), ErrorKind::NotFound, "{named:?}");

        let all = host.vms.changes(None, None).await.unwrap();
        let middle = all[all.len() / 2].sequence;
        let rest = host.vms.changes(None, Some(middle)).await.unwrap();
        assert_eq!(all[all.len() / 2 + 1..], rest);
        let newest = all.last().unwrap().sequence;
        assert!(
            host.vms
                .changes(None, Some(newest))
                .await
                .unwrap()
                .is_empty()
        );

        // as if much had happened since
        let database = SqliteConnectOptions::new().filename(host.directories.database());
        let mut database = SqliteConnection::connect_with(&database).await.unwrap();
        sqlx::query(
            "INSERT INTO vm_events (sequence, happened_at, vm_id, vm_name, change, state, reason, generation) \
             SELECT sequence + 10002, happened_at, vm_id, vm_name, change, state, reason, generation \
             FROM vm_events WHERE sequence = 1",
        )
        .execute(&mut database)
        .await
        .unwrap();
        let forgotten = host.vms.changes(None, Some(1)).await.unwrap_err();
        assert!(
            matches!(forgotten, VmChangesError::Forgotten { .. }),
            "{forgotten:?}"
        );
    });
}
