//! The services that share the one connection.

use std::convert::Infallible;

use banger_proto::guest::v1::{
    agent_service_server::AgentServiceServer,
    connect_service_server::{self, ConnectServiceServer},
    files_service_server::{self, FilesServiceServer},
};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tonic::{
    body::Body,
    codegen::{
        BoxFuture, Service as _,
        http::{Request, Response},
    },
};

use super::{connect::Connector, service::Agent, tree::Files};

/// Most bytes of a message of trees and connections: a chunk and a little.
const MESSAGE_LIMIT: usize = 128 << 10;

/// Hands calls to the service that their path names.
#[derive(Clone, Debug)]
pub(super) struct Router {
    agent: AgentServiceServer<Agent>,
    files: FilesServiceServer<Files>,
    connector: ConnectServiceServer<Connector>,
}

impl Router {
    /// Work that outlives its call belongs to `tasks`.
    pub(super) fn new(agent: Agent, tasks: &TaskTracker) -> Self {
        Self {
            agent: AgentServiceServer::new(agent),
            files: FilesServiceServer::new(Files::new(tasks.clone()))
                .max_decoding_message_size(MESSAGE_LIMIT),
            connector: ConnectServiceServer::new(Connector::new(tasks.clone()))
                .max_decoding_message_size(MESSAGE_LIMIT),
        }
    }

    pub(super) fn call(&self, request: Request<Incoming>) -> BoxFuture<Response<Body>, Infallible> {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            files_service_server::SERVICE_NAME => self.files.clone().call(request),
            connect_service_server::SERVICE_NAME => self.connector.clone().call(request),
            _ => self.agent.clone().call(request),
        }
    }
}
