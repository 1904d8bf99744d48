//! The core's traits over a server, for programs that are written against them.
//!
//! Purpose: what works embedded works with a service, with the same records, the
//! same progress and the same errors. Invariants: a method that is dropped does to
//! the work what the trait says of it; what the API has no method for is refused as
//! unsupported, and nothing is done. Entry points: [`RemoteServices`].

mod archives;
mod build;
mod catalog;
mod cut;
mod doctor;
mod errors;
mod exec;
mod files;
mod image_disk;
mod images;
mod incoming;
mod kernels;
mod lifeline;
mod logs;
mod ports;
mod progress;
mod records;
mod requests;
mod upload;
mod vms;
mod volumes;
mod wait;
mod work;

use std::{fs::File, sync::Arc, time::Duration};

use banger_core::{
    diagnostics::Doctor,
    directories::Directories,
    image::{
        ImageManager,
        build::{ContainerfileBuilder, ImageBuilder},
    },
    kernel::KernelResolver,
    vm::VmSupervisor,
    volume::VolumeManager,
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::{Client, Failure};

/// How long what is left to be told to the server may take.
const SETTLING: Duration = Duration::from_secs(10);

/// The services of a server.
#[derive(Clone, Debug)]
pub struct RemoteServices {
    /// Images.
    pub images: Arc<dyn ImageManager>,
    /// Kernels.
    pub kernels: Arc<dyn KernelResolver>,
    /// Virtual machines.
    pub vms: Arc<dyn VmSupervisor>,
    /// Builds images.
    pub builder: Arc<dyn ImageBuilder>,
    /// Named volumes.
    pub volumes: Arc<dyn VolumeManager>,
    /// Looks at the server's host.
    pub doctor: Arc<dyn Doctor>,
    tasks: TaskTracker,
}

/// What is used of this host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// What `rootfs-tar:-` means.
    pub standard_input: Option<Arc<File>>,
    /// Where logs of builds and what is in the making lie.
    pub directories: Option<Directories>,
}

/// What all of them share.
#[derive(Clone, Debug)]
struct Server {
    client: Client,
    /// What is told to the server when nobody waits for it any more.
    tasks: TaskTracker,
}

impl RemoteServices {
    /// Those of the server of that client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::on(client, Host::default())
    }

    /// The same, for whom these things of this host are.
    #[must_use]
    pub fn on(client: Client, host: Host) -> Self {
        let tasks = TaskTracker::new();
        let server = Server {
            client,
            tasks: tasks.clone(),
        };
        let images: Arc<dyn ImageManager> = Arc::new(images::RemoteImages {
            server: server.clone(),
            standard_input: host.standard_input,
        });
        let kernels: Arc<dyn KernelResolver> = Arc::new(kernels::RemoteKernels(server.clone()));
        let builder = build::RemoteBuilder {
            server: server.clone(),
            directories: host.directories.clone(),
            containerfiles: host.directories.map(|directories| ContainerfileBuilder {
                images: Arc::clone(&images),
                kernels: Arc::clone(&kernels),
                directories,
            }),
        };
        Self {
            images,
            kernels,
            volumes: Arc::new(volumes::RemoteVolumes(server.clone())),
            vms: Arc::new(vms::RemoteVms(server.clone())),
            doctor: Arc::new(doctor::RemoteDoctor(server)),
            builder: Arc::new(builder),
            tasks,
        }
    }

    /// Waits until the server was told of all that was dropped or given up, some
    /// seconds at most.
    pub async fn settle(&self) {
        self.tasks.close();
        drop(timeout(SETTLING, self.tasks.wait()).await);
    }
}

impl Server {
    /// A call that only reads, repeated while that may help.
    async fn read<T, F>(&self, call: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let answer = crate::retry::until(self.client.deadline(), call).await?;
        Ok(answer.into_inner())
    }

    /// All pages of a list, each got by its token; the token after the last one is empty.
    async fn pages<T, F>(&self, mut page: impl FnMut(String) -> F) -> Result<Vec<T>, Failure>
    where
        F: Future<Output = Result<(Vec<T>, String), Failure>>,
    {
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let (records, token) = page(next).await?;
            all.extend(records);
            if token.is_empty() {
                return Ok(all);
            }
            next = token;
        }
    }
}
