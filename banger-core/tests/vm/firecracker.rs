//! The real Firecracker under a real monitor, with guests of a few
//! instructions: whether Linux runs depends on the host's KVM, these always do.
//! They have no agent, so what shows is how a boot that fails is told.

use std::{fs, time::Duration};

use banger_core::{
    domain::{BackendKind, NetworkMode, VmExit, VmState},
    progress::NoProgress,
    vm::{CreateVm, CreateVmError, Lifetime, LocalVmSupervisor, StartVmError, VmSupervisor as _},
    vmm::{BackendError, JailMode, JailOptions},
};

use super::{
    fixture::{Host, block_on, given, request},
    tiny_guest,
};

/// A host whose one image has this kernel, and a supervisor of Firecracker's.
async fn host(kernel: &[u8], deadline: Duration) -> (Host, LocalVmSupervisor) {
    let host = Host::with_fake_vmm("exit 1").await;
    fs::write(host.root().join("file"), kernel).unwrap();
    let program = given("BANGER_TESTBED").join("firecracker/firecracker");
    let vms = host.supervisor(deadline, |options| {
        options.vmm.firecracker = Some(program);
    });
    (host, vms)
}

fn on_firecracker(name: &str) -> CreateVm {
    CreateVm {
        backend: Some(BackendKind::Firecracker),
        network: NetworkMode::None,
        ..request(name)
    }
}

pub(crate) fn a_guest_without_an_agent() {
    block_on(async {
        let (host, vms) = host(&tiny_guest::counter(), Duration::from_secs(3)).await;
        let created = vms.create(on_firecracker("counts"), Lifetime::Detached, &NoProgress);
        let vm = created.await.unwrap().vm;
        let selector = vm.name.as_str().into();
        let started = vms.start(&selector, Lifetime::Detached, &NoProgress).await;
        let failed = started.unwrap_err();
        let StartVmError::BootFailed {
            cause,
            console_tail,
            ..
        } = &failed
        else {
            panic!("{failed:?}");
        };
        assert!(cause.contains("did not answer within 3s"), "{cause}");
        assert!(console_tail.contains("00000002"), "{console_tail}");
        let record = vms.show(&selector).await.unwrap();
        let backend = record.backend.unwrap();
        assert_eq!(backend.kind, BackendKind::Firecracker);
        assert!(backend.reason.contains("/dev/kvm") || backend.reason.contains("KVM"));
        let deleted = host.vms.delete(&selector, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// Root has what a jail takes where the jailer lies beside Firecracker.
pub(crate) fn a_guest_in_a_jail() {
    block_on(async {
        assert!(rustix::process::geteuid().is_root(), "only root can jail");
        let (host, _) = host(&tiny_guest::counter(), Duration::from_mins(1)).await;
        let program = given("BANGER_TESTBED").join("firecracker/firecracker");
        let jailer = program.with_file_name("jailer");
        let vms = host.supervisor(Duration::from_secs(3), |options| {
            options.vmm.firecracker = Some(program);
            options.vmm.jail.program = Some(jailer);
        });
        let created = vms.create(on_firecracker("jailed"), Lifetime::Detached, &NoProgress);
        let vm = created.await.unwrap().vm;
        let selector = vm.name.as_str().into();
        let started = vms.start(&selector, Lifetime::Detached, &NoProgress).await;
        let failed = started.unwrap_err();
        let StartVmError::BootFailed { console_tail, .. } = &failed else {
            panic!("{failed:?}");
        };
        assert!(console_tail.contains("00000002"), "{console_tail}");
        let reason = vms.show(&selector).await.unwrap().backend.unwrap().reason;
        assert!(reason.contains("it runs in a jail"), "{reason}");
        assert_eq!(host.store.jail_ids().await.unwrap(), []);
        let deleted = host.vms.delete(&selector, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

pub(crate) fn a_jail_that_cannot_be_had() {
    block_on(async {
        let (host, _) = host(&tiny_guest::counter(), Duration::from_mins(1)).await;
        let program = given("BANGER_TESTBED").join("firecracker/firecracker");
        for jailer in [None, Some("/nowhere/jailer".into())] {
            let vms = host.supervisor(Duration::from_mins(1), |options| {
                options.vmm.firecracker = Some(program.clone());
                options.vmm.jail = JailOptions {
                    mode: JailMode::Always,
                    program: jailer,
                    ..JailOptions::default()
                };
            });
            let refused = vms.create(on_firecracker("free"), Lifetime::Detached, &NoProgress);
            let refused = refused.await.unwrap_err();
            assert!(
                matches!(
                    &refused,
                    CreateVmError::Backend(BackendError::NoJail { .. })
                ),
                "{refused:?}"
            );
        }
        assert!(!host.directories.vms().exists(), "nothing was made");
    });
}

pub(crate) fn a_machine_that_cannot_be_made() {
    block_on(async {
        let (host, vms) = host(b"no kernel", Duration::from_mins(1)).await;
        let created = vms.create(on_firecracker("broken"), Lifetime::Detached, &NoProgress);
        let vm = created.await.unwrap().vm;
        let selector = vm.name.as_str().into();
        let started = vms.start(&selector, Lifetime::Detached, &NoProgress).await;
        let failed = started.unwrap_err();
        let StartVmError::BootFailed { stage, cause, .. } = &failed else {
            panic!("{failed:?}");
        };
        assert_eq!(stage, "machine");
        assert!(cause.contains("the VMM refused PUT /actions"), "{cause}");
        let record = vms.show(&selector).await.unwrap();
        assert_eq!(record.state, VmState::Failed);
        assert!(
            matches!(record.exit, Some(VmExit::VmmDied(_))),
            "{record:?}"
        );
        let deleted = host.vms.delete(&selector, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

pub(crate) fn a_guest_that_ends_its_machine() {
    block_on(async {
        let kernel = tiny_guest::farewell("so long\n");
        let (host, vms) = host(&kernel, Duration::from_mins(1)).await;
        let created = vms.create(on_firecracker("leaves"), Lifetime::Detached, &NoProgress);
        let vm = created.await.unwrap().vm;
        let selector = vm.name.as_str().into();
        let started = vms.start(&selector, Lifetime::Detached, &NoProgress).await;
        let failed = started.unwrap_err();
        let StartVmError::BootFailed {
            cause,
            console_tail,
            ..
        } = &failed
        else {
            panic!("{failed:?}");
        };
        assert!(cause.contains("exit status: 0"), "{cause}");
        assert!(console_tail.contains("so long"), "{console_tail}");
        let deleted = host.vms.delete(&selector, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}
