//! Many records of machines that were never started.

use std::time::{Duration, SystemTime};

use banger_core::{
    domain::{
        BootArtifacts, DiskProvenance, Image, ImageId, ImageName, ImageOrigin, ImageSizes,
        RunConfig, Vm, VmId, VmSpec, VmState,
    },
    store::Store,
};

use crate::{Result, Server};

/// The label that every other record has.
pub(crate) const HALF: (&str, &str) = ("parity", "even");
/// The label that a page of all the records has.
pub(crate) const FEW: (&str, &str) = ("shard", "0");
/// Records of a page.
pub(crate) const PAGE: u32 = 100;

/// Makes that many records of one image. The service sees them at once.
pub async fn make(server: &Server, count: u32) -> Result<()> {
    let store = server.store().await?;
    let image = image(&store).await?;
    for number in 0..count {
        let record = record(number, count, image)?;
        store.insert_vm(&record).await?;
    }
    Ok(())
}

async fn image(store: &Store) -> Result<ImageId> {
    let name: ImageName = "measured".parse()?;
    let id = ImageId::generate();
    let image = Image {
        id,
        name,
        artifact_directory: None,
        rootfs: "/nowhere/rootfs.ext4".into(),
        boot: BootArtifacts {
            kernel: "/nowhere/kernel".into(),
            ..BootArtifacts::default()
        },
        kernel: None,
        origin: ImageOrigin::Registered,
        run_config: RunConfig::default(),
        sizes: ImageSizes::default(),
        disk: DiskProvenance::default(),
        package_hash: None,
        verdict: None,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    };
    store.insert_image(&image).await?;
    Ok(id)
}

/// A record as an orchestrator's are: with some labels.
fn record(number: u32, count: u32, image: ImageId) -> Result<Vm> {
    let mut spec = VmSpec::default();
    let parity = if number.is_multiple_of(2) {
        HALF.1
    } else {
        "odd"
    };
    let shards = (count / PAGE).max(1);
    for (key, value) in [
        (HALF.0, parity.to_owned()),
        (FEW.0, (number % shards).to_string()),
        ("job", format!("build-{number}")),
    ] {
        spec.labels.insert(key.to_owned(), value);
    }
    Ok(Vm {
        id: VmId::generate(),
        name: format!("vm-{number:06}").parse()?,
        image,
        spec,
        state: VmState::Created,
        reason: String::new(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(number / 7)),
        started: None,
        stopped: None,
        generation: 1,
    })
}
