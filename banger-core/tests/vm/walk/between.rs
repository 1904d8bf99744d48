//! What others do to a VM in the middle of an operation, and what a machine
//! does whose helper goes away.

use std::{fs, process::ExitCode, thread};

use banger_core::{
    ErrorKind,
    domain::{VmExit, VmState},
    process::command,
    vm::{PruneVms, VmSupervisor as _},
};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    super::fixture::{PATIENCE, block_on},
    ground::{Ground, PAUSE},
    operation::{NAME, Operation},
    processes::{self, Role},
    steps,
};

/// The step of a restart at which its VM has ended and was not started again.
const ENDED: &str = "heard that a machine is down";
/// Made by the restart when it is there.
const ARRIVED: &str = "arrived";
/// Made by the test when the restart may go on.
const GO_ON: &str = "go-on";

/// A VM that is between its stop and its start is nobody's to remove, and one
/// whose restart was broken off is again.
pub(crate) fn a_restart_is_not_pruned() {
    block_on(async {
        let ground = Ground::new(false).await;
        let (root, vms, name) = (ground.root(), &ground.vms, NAME.into());
        Operation::Restart.prepare(&ground).await;
        let mut restart = waiting_restart(&ground).await;
        assert_eq!(vms.show(&name).await.unwrap().state, VmState::Stopped);
        let pruned = vms.prune(PruneVms::default()).await.unwrap();
        assert!(pruned.removed.is_empty(), "{pruned:?}");
        assert!(pruned.failed.is_empty(), "{pruned:?}");
        let refused = vms.delete(&name, false).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
        let twice = Operation::Restart.ask(vms, &root).await;
        assert_eq!(twice.unwrap_err().0, ErrorKind::Conflict);
        fs::write(root.join(GO_ON), "").unwrap();
        let ended = tokio::time::timeout(PATIENCE, restart.wait()).await;
        assert!(ended.unwrap().unwrap().success());
        let is_up = |state| state == VmState::Running;
        let running = ground.settled(|vms| vms.iter().all(|vm| is_up(vm.state)));
        assert_eq!(running.await.unwrap().unwrap().state, VmState::Running);

        fs::remove_file(root.join(GO_ON)).unwrap();
        fs::remove_file(root.join(ARRIVED)).unwrap();
        let mut restart = waiting_restart(&ground).await;
        restart.kill().await.unwrap();
        let pruned = vms.prune(PruneVms::default()).await.unwrap();
        assert_eq!(pruned.removed.len(), 1, "{pruned:?}");
        ground.settled(<[_]>::is_empty).await.unwrap();
    });
}

/// Restarts the VM in another process, which waits in between.
async fn waiting_restart(ground: &Ground) -> tokio::process::Child {
    let mut command = command(std::env::current_exe().unwrap());
    command.args(["__restart", ground.root().as_str()]);
    let restart = command.spawn().unwrap();
    let arrived = async |_: &_| ground.root().join(ARRIVED).exists();
    ground.host.wait_until("the VM has ended", arrived).await;
    restart
}

/// The other process; its argument is the state directory.
pub(crate) fn restart(arguments: &[String]) -> ExitCode {
    let [root] = arguments else {
        panic!("a directory is needed");
    };
    let root = Utf8PathBuf::from(root);
    let mut code = ExitCode::SUCCESS;
    block_on(async {
        let vms = Ground::open(&root).await;
        let here = root.clone();
        steps::watch(move |step| {
            if step == ENDED {
                wait_in(&here);
            }
        });
        if let Err((_, words)) = Operation::Restart.ask(&vms, &root).await {
            eprintln!("{words}");
            code = ExitCode::FAILURE;
        }
    });
    code
}

fn wait_in(root: &Utf8Path) {
    fs::write(root.join(ARRIVED), "").unwrap();
    while !root.join(GO_ON).exists() {
        thread::sleep(PAUSE);
    }
}

/// A machine cannot do without its network what it is for: it is brought down,
/// and its record says why.
pub(crate) fn a_lost_network_ends_its_vm() {
    block_on(async {
        let ground = Ground::new(false).await;
        Operation::Stop.prepare(&ground).await;
        let living = processes::of(&ground.root());
        let is_helper = |living: &&processes::Living| living.role == Role::Helper;
        processes::kill(living.iter().find(is_helper).unwrap().id);
        let has_ended = |vms: &[banger_core::domain::Vm]| vms[0].state == VmState::Failed;
        let vm = ground.settled(has_ended).await.unwrap().unwrap();
        let Some(VmExit::NetworkLost(words)) = &vm.exit else {
            panic!("{vm:?}");
        };
        assert!(words.contains("SIGKILL"), "{words}");
        let said = "the helper of its network ended with signal: 9 (SIGKILL)";
        assert!(vm.reason.starts_with(said), "{}", vm.reason);
        let again = Operation::Start.ask(&ground.vms, &ground.root()).await;
        again.unwrap();
        ground.clear().await.unwrap();
    });
}
