//! Measures a banger service from its client's side.
//!
//! Purpose: what `cargo xtask bench grpc` runs against a service of its own, and a
//! test of the service in small. Invariants: what is compared takes turns in one run;
//! nothing but the service and the records that were made for it is touched; the
//! client is one thread, so that another core is the service's. Entry points:
//! [`Server`], [`unary::measure`], [`lists::measure`], [`streams::measure`],
//! [`exec::measure`].

pub mod exec;
pub mod lists;
mod process;
pub mod records;
mod samples;
pub mod streams;
pub mod unary;

use std::{error::Error, time::Duration};

use banger_core::{
    directories::Directories,
    store::{Store, StoreError},
};
use camino::Utf8PathBuf;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

pub use samples::Samples;

/// Why nothing was measured; whoever measures can only read it.
pub type Failure = Box<dyn Error + Send + Sync>;
/// What was measured, or why not.
pub type Result<T> = std::result::Result<T, Failure>;

/// How long a service may take to serve.
const DEADLINE: Duration = Duration::from_mins(1);

/// The service that is measured.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub socket: Utf8PathBuf,
    /// Where its records are.
    pub state: Utf8PathBuf,
}

impl Server {
    /// A connection of its own.
    pub async fn connect(&self) -> Result<Channel> {
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket))?;
        Ok(endpoint.connect().await?)
    }

    /// A connection, when the service serves.
    pub async fn ready(&self) -> Result<Channel> {
        let begun = Instant::now();
        loop {
            match self.serving().await {
                Ok(channel) => return Ok(channel),
                Err(failure) if DEADLINE < begun.elapsed() => return Err(failure),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn serving(&self) -> Result<Channel> {
        let channel = self.connect().await?;
        let mut health = HealthClient::new(channel.clone());
        let answer = health.check(HealthCheckRequest::default()).await?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(channel),
            other => Err(format!("the service is {other:?}").into()),
        }
    }

    /// The records, as the service has them.
    pub(crate) async fn store(&self) -> std::result::Result<Store, StoreError> {
        let directories = Directories {
            state: self.state.clone(),
            cache: self.state.clone(),
            runtime: self.state.clone(),
        };
        Store::open(&directories).await
    }
}
