//! Commands in a server's machines.

use banger_api::v1::{self, ListExecsRequest};
use banger_core::{
    domain::Vm,
    vm::{ExecError, ExecId, ExecInfo, ExecRequest, ExecSession, Leaving, Settled, WhenDetached},
};
use tokio::sync::oneshot;

use super::{Server, records, requests};
use crate::{
    Failure,
    exec::{Relay, exit_of},
};

impl Server {
    pub(super) async fn exec(
        &self,
        vm: &Vm,
        mut request: ExecRequest,
    ) -> Result<ExecSession, ExecError> {
        let id = request.id.get_or_insert_with(ExecId::generate).clone();
        let is_kept = request.when_detached == WhenDetached::Keep;
        let create = requests::exec(format!("vms/{}", vm.id), request);
        let created = self.client.create_exec(create).await;
        created.map_err(|failure| failure.of_exec(&vm.name, &id))?;
        self.join(vm, &id, 0, is_kept).await
    }

    pub(super) async fn attach(
        &self,
        vm: &Vm,
        id: &ExecId,
        from_offset: u64,
    ) -> Result<ExecSession, ExecError> {
        // how long it is to live without a client is known to the guest alone
        self.join(vm, id, from_offset, true).await
    }

    async fn join(
        &self,
        vm: &Vm,
        id: &ExecId,
        offset: u64,
        is_kept: bool,
    ) -> Result<ExecSession, ExecError> {
        let relay = Relay {
            client: self.client.clone(),
            name: format!("vms/{}/execs/{id}", vm.id),
            offset,
            delete_at_end: !is_kept,
        };
        let (name, of) = (vm.name.clone(), id.clone());
        let failed = move |failure: Failure| match failure.reason {
            Some(v1::ErrorReason::ExecBeyondOutput) => ExecError::BeyondOutput {
                id: of.clone(),
                offset,
            },
            _ => failure.of_exec(&name, &of),
        };
        let started = relay.start(failed.clone()).await;
        let (attached, ends, running) = started.map_err(failed)?;
        let (settled, settling) = oneshot::channel();
        drop(self.tasks.spawn(async move {
            running.await;
            // nobody may wait for it
            settled.send(()).ok();
        }));
        Ok(ExecSession {
            id: id.clone(),
            pid: attached.pid,
            terminal: attached.terminal,
            stdin_offset: attached.stdin_offset,
            control: ends.control,
            events: ends.events,
            accepted: ends.accepted,
            leaving: Leaving::default(),
            settled: Settled::new(settling),
        })
    }

    pub(super) async fn execs(&self, vm: &Vm) -> Result<Vec<ExecInfo>, Failure> {
        let vm = format!("vms/{}", vm.id);
        let listed = self.read(|| {
            let (vm, mut execs) = (vm.clone(), self.client.execs());
            async move { execs.list_execs(ListExecsRequest { vm }).await }
        });
        let listed = listed.await?.execs.into_iter();
        listed.map(info).collect()
    }
}

fn info(exec: v1::Exec) -> Result<ExecInfo, Failure> {
    let id = exec
        .name
        .rsplit_once('/')
        .and_then(|(_, id)| id.parse().ok());
    let confused = |problem| Failure::confused(&exec.name, problem);
    Ok(ExecInfo {
        id: id.ok_or_else(|| confused("it has no id"))?,
        pid: exec.pid,
        terminal: exec.terminal,
        attached: exec.attached,
        exit: match exec.exit {
            None => None,
            Some(exit) => Some(exit_of(exit).ok_or_else(|| confused("its exit is none"))?),
        },
        first_offset: exec.first_offset,
        end_offset: exec.end_offset,
        age: records::elapsed(&exec.name, exec.age)?,
        argv: exec.argv,
    })
}
