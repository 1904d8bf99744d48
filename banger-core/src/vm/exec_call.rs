//! Running commands in a VM: calls through the monitor to the agent.

use std::{sync::Arc, time::Duration};

use banger_proto::guest::v1::{CreateExecRequest, DeleteExecRequest, ListExecsRequest};
use tonic::{Code, Status};

use super::{
    ExecError, ExecId, ExecInfo, ExecRequest, ExecSession,
    exec_agent::{Agent, Failure},
    exec_command::exec_start,
    exec_relay::Relay,
    exec_wire::{create_request, info_of, spawn_failure},
    supervisor::Host,
};
use crate::domain::Selector;

/// How long a process may take to start: the guest may be slow and busy.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// How long the agent may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Runs a command.
pub(super) async fn exec(
    host: &Arc<Host>,
    selector: &Selector,
    mut request: ExecRequest,
) -> Result<ExecSession, ExecError> {
    let (agent, vm) = Agent::find(host, selector).await?;
    let image = host.image(vm.image).await?;
    let id = request.id.take().unwrap_or_else(ExecId::generate);
    let start = exec_start(&image.run_config, &request)?;
    let program = start.argv.first().map_or_else(
        || "the login shell".to_owned(),
        |program| String::from_utf8_lossy(program).into_owned(),
    );
    let create = create_request(&id, start, &request);
    let created = agent.call(START_DEADLINE, |mut client| {
        let create: CreateExecRequest = create.clone();
        async move { client.create_exec(create).await }
    });
    match created.await {
        Ok(_) => {}
        Err(Failure::Unreached(error)) => return Err(error),
        Err(Failure::Refused(status)) => return Err(refused(&agent, id, program, &status)),
    }
    let relay = Relay {
        agent,
        id,
        offset: 0,
    };
    relay.start().await
}

fn refused(agent: &Agent, id: ExecId, program: String, status: &Status) -> ExecError {
    if let Some(failure) = spawn_failure(status) {
        return ExecError::Spawn {
            program,
            failure,
            message: status.message().to_owned(),
        };
    }
    match status.code() {
        Code::AlreadyExists => ExecError::IdTaken {
            name: agent.name.clone(),
            id,
        },
        _ => agent.refusal(status),
    }
}

/// Attaches to a session.
pub(super) async fn attach(
    host: &Arc<Host>,
    selector: &Selector,
    id: &ExecId,
    offset: u64,
) -> Result<ExecSession, ExecError> {
    let (agent, _) = Agent::find(host, selector).await?;
    let relay = Relay {
        agent,
        id: id.clone(),
        offset,
    };
    relay.start().await
}

/// The sessions there are.
pub(super) async fn list(
    host: &Arc<Host>,
    selector: &Selector,
) -> Result<Vec<ExecInfo>, ExecError> {
    let (agent, _) = Agent::find(host, selector).await?;
    let listed = agent.call(ANSWER_DEADLINE, |mut client| async move {
        client.list_execs(ListExecsRequest {}).await
    });
    let listed = listed.await.map_err(|failure| plain(&agent, failure))?;
    let execs = listed.into_inner().execs;
    Ok(execs.into_iter().filter_map(info_of).collect())
}

/// Ends and forgets a session.
pub(super) async fn delete(
    host: &Arc<Host>,
    selector: &Selector,
    id: &ExecId,
) -> Result<(), ExecError> {
    let (agent, _) = Agent::find(host, selector).await?;
    let deleted = agent.call(ANSWER_DEADLINE, |mut client| {
        let exec_id = id.to_string();
        async move { client.delete_exec(DeleteExecRequest { exec_id }).await }
    });
    let deleted = deleted.await.map_err(|failure| plain(&agent, failure))?;
    if deleted.into_inner().existed {
        return Ok(());
    }
    Err(ExecError::NoSuchExec {
        name: agent.name.clone(),
        id: id.clone(),
    })
}

fn plain(agent: &Agent, failure: Failure) -> ExecError {
    match failure {
        Failure::Unreached(error) => error,
        Failure::Refused(status) => agent.refusal(&status),
    }
}
