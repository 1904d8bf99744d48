//! VMs whose time is limited, and VMs whose CPUs stand still.

use std::time::{Duration, SystemTime};

use banger_core::{
    clock::{Clock as _, SystemClock},
    domain::{Lease, OnExpiry, Selector, VmExit, VmState},
    progress::NoProgress,
    vm::{
        ExecError, ExecRequest, Lifetime, LogsRequest, PauseVmError, SetVm, StartVmError,
        VmSupervisor as _, WhenDetached,
    },
};

use super::fixture::{GRACE, Host, block_on, request};

/// Paused, a guest does nothing and costs nothing; stopped then, it powers off
/// in order.
pub(crate) fn a_paused_vm() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("paused").await;
        let refused = host.vms.pause(&vm).await.unwrap_err();
        assert!(
            matches!(refused, PauseVmError::NotRunning { .. }),
            "{refused:?}"
        );
        host.start(&vm).await;
        let ticking = "while :; do echo tick > /dev/ttyS0; sleep 0.05; done";
        let _ticking = host.exec(&vm, &["sh", "-c", ticking]).await.unwrap();
        let ticks = async || host.console(&vm).await.matches("tick").count();
        host.wait_until("it ticks", async |_| 2 < ticks().await)
            .await;
        for _ in 0..2 {
            let paused = host.vms.pause(&vm).await.unwrap();
            assert_eq!(paused.state, VmState::Paused);
        }
        let refused = host
            .vms
            .exec(&vm, ExecRequest::default())
            .await
            .unwrap_err();
        assert!(matches!(
            refused,
            ExecError::NotRunning {
                state: VmState::Paused,
                ..
            }
        ));
        let cost = async || host.vms.stats(&vm).await.unwrap().running.unwrap();
        let (before, until) = (ticks().await, cost().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ticks().await, before);
        let since = cost().await.cpu.saturating_sub(until.cpu);
        assert!(since < Duration::from_millis(250), "{since:?}");
        assert!(0 < until.memory.get() && until.calls == 1, "{until:?}");
        let running = host.vms.resume(&vm).await.unwrap();
        assert_eq!(running.state, VmState::Running);
        host.wait_until("it ticks again", async |_| before < ticks().await)
            .await;
        host.vms.pause(&vm).await.unwrap();
        let stopped = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(stopped.exit, Some(VmExit::PoweredOff));
        let stats = host.vms.stats(&vm).await.unwrap();
        assert!(stats.running.is_none() && 0 < stats.disk.get());
    });
}

fn lease(life: Option<u64>, idle: Option<u64>, on_expiry: OnExpiry) -> Lease {
    Lease {
        max_lifetime: life.map(Duration::from_millis),
        idle_timeout: idle.map(Duration::from_millis),
        on_expiry,
    }
}

/// Used, a VM is not idle; then it stops, and at the end of its life it goes.
pub(crate) fn a_limited_life() {
    block_on(async {
        let host = Host::bootable().await;
        let mut wanted = request("limited");
        wanted.lease = Some(lease(None, Some(1500), OnExpiry::Stop));
        let vm = host.make(wanted).await;
        let id = Selector::from(vm.id.to_string().as_str());
        host.start(&id).await;
        host.shell(&id, "sleep 4").await;
        assert_eq!(host.state(&id).await, VmState::Running);
        let unattended = ExecRequest {
            argv: ["sleep", "6"].map(str::to_owned).to_vec(),
            when_detached: WhenDetached::Keep,
            ..ExecRequest::default()
        };
        drop(host.vms.exec(&id, unattended).await.unwrap());
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(host.state(&id).await, VmState::Running);
        let idle = host.vms.wait(&id, Some(Duration::from_mins(2))).await;
        let idle = idle.unwrap();
        assert_eq!(idle.exit, Some(VmExit::PoweredOff));
        assert!(idle.reason.contains("nobody used it"), "{}", idle.reason);
        let set = async |lease| {
            let request = SetVm {
                lease: Some(lease),
                ..SetVm::default()
            };
            host.vms.set(&id, request).await.unwrap();
        };
        set(Some(lease(Some(1), None, OnExpiry::Stop))).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let refused = host.vms.start(&id, Lifetime::Detached, &NoProgress).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, StartVmError::LeaseOver { .. }),
            "{refused:?}"
        );
        set(None).await;
        host.start(&id).await;
        // told while it runs
        set(Some(lease(Some(100), None, OnExpiry::Delete))).await;
        host.wait_until("it is gone", async |host| {
            host.store.vm(vm.id).await.unwrap().is_none()
        })
        .await;
        host.assert_nothing_left(&vm).await;
    });
}

/// A VM that does not run goes when somebody next looks.
pub(crate) fn a_life_that_ends_at_rest() {
    block_on(async {
        let host = Host::bootable().await;
        let mut wanted = request("resting");
        wanted.lease = Some(lease(Some(1), None, OnExpiry::Delete));
        let vm = host.make(wanted).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        host.vms.reconcile().await.unwrap();
        host.assert_nothing_left(&vm).await;
    });
}

/// What a guest wrote before a time is left out.
pub(crate) fn logs_since_a_time() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("logged").await;
        host.start(&vm).await;
        host.shell(&vm, "echo before > /dev/ttyS0; sleep 1").await;
        let between = SystemClock.now();
        host.shell(&vm, "sleep 1; echo after > /dev/ttyS0; sleep 1")
            .await;
        let since = async |since: Option<SystemTime>| {
            let request = LogsRequest {
                since,
                ..LogsRequest::default()
            };
            let mut log = host.vms.logs(&vm, request).await.unwrap();
            let mut text = Vec::new();
            while let Some(chunk) = log.chunks.recv().await {
                text.extend(chunk.unwrap().bytes);
            }
            String::from_utf8_lossy(&text).replace('\r', "")
        };
        let whole = since(None).await;
        assert!(whole.contains("before\n") && whole.contains("after\n"));
        let later = since(Some(between)).await;
        assert!(
            !later.contains("before") && later.contains("after\n"),
            "{later}"
        );
        assert_eq!(since(Some(SystemClock.now())).await, "");
        host.vms.stop(&vm, GRACE).await.unwrap();
    });
}
