//! Commands in guests that no broken connection and no restart of a server ends.
//!
//! Purpose: start a command or join one, and pass its input, its output and its end
//! on as if the connection never broke. Invariants: output comes once and in order,
//! and the last event is exactly one exit or failure; input and signals reach the
//! command once; what is kept on this side is bounded, and a reader that stops
//! reading holds the command up; output that the guest did not keep is told as
//! [`Truncated`](banger_core::vm::ExecEvent::Truncated). Entry points: [`Client::exec`], [`Client::attach`],
//! [`Exec`].

mod relay;

use banger_api::v1::{CreateExecRequest, DeleteExecRequest};
use banger_core::vm::{ExecControl, exec_caller::Ends};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::{Client, Failure, retry};

pub(crate) use relay::{Relay, exit_of, wire_size};

/// A command in a guest, with this process attached to it. Dropping it detaches; the
/// command goes on, or has its grace.
#[derive(Debug)]
pub struct Exec {
    /// Its name, `vms/UID/execs/ID`.
    pub name: String,
    /// Process id in the guest.
    pub pid: u32,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// How many bytes of standard input it had taken before: what is sent comes after
    /// them.
    pub stdin_offset: u64,
    /// Output and, as the last item, exactly one exit or failure.
    pub events: ExecEvents,
    /// Standard input, signals, terminal size. Bounded: sending waits while the
    /// command does not read. Dropping it alone ends standard input.
    pub control: mpsc::Sender<ExecControl>,
    /// Passes everything on; it ends with this.
    _task: JoinSet<()>,
}

/// Output and end of a command. Bounded: not reading holds the command up. Asking for
/// the next event says that those before it are done with; what was not done with is
/// kept by the guest for whoever attaches next.
pub type ExecEvents = banger_core::vm::ExecEvents<Failure>;

impl Client {
    /// Starts a command, once whatever breaks, and attaches to it. A process that
    /// cannot be started is a failure, what it does then is an event.
    pub async fn exec(&self, request: CreateExecRequest) -> Result<Exec, Failure> {
        let name = self.create_exec(request).await?;
        self.attach(&name, 0).await
    }

    /// Attaches to a command that was started before, by whomever, and gets its
    /// output from an offset on.
    pub async fn attach(&self, name: &str, from_offset: u64) -> Result<Exec, Failure> {
        let relay = Relay {
            client: self.clone(),
            name: name.to_owned(),
            offset: from_offset,
            delete_at_end: false,
        };
        let (attached, ends, running) = relay.start(|failure| failure).await?;
        let mut task = JoinSet::new();
        task.spawn(running);
        let Ends {
            events, control, ..
        } = ends;
        Ok(Exec {
            name: name.to_owned(),
            pid: attached.pid,
            terminal: attached.terminal,
            stdin_offset: attached.stdin_offset,
            events,
            control,
            _task: task,
        })
    }

    /// Starts a command, once whatever breaks, and answers its name. Nobody is
    /// attached to it then.
    pub async fn create_exec(&self, mut request: CreateExecRequest) -> Result<String, Failure> {
        if request.request_id.is_empty() {
            request.request_id = Uuid::now_v7().to_string();
        }
        let created = retry::until(Instant::now() + self.budget, || {
            let (request, mut execs) = (request.clone(), self.execs());
            async move { execs.create_exec(request).await }
        });
        Ok(created.await?.into_inner().name)
    }

    /// Ends a command and forgets it. One that is forgotten already is fine.
    pub async fn delete_exec(&self, name: &str) -> Result<(), Failure> {
        let deleted = retry::until(Instant::now() + self.budget, || {
            let request = DeleteExecRequest {
                name: name.to_owned(),
            };
            let mut execs = self.execs();
            async move { execs.delete_exec(request).await }
        });
        deleted.await.map(drop)
    }
}
