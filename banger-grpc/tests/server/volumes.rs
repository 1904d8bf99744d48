//! Named volumes: whose they are, what they take, and requests that come twice.

use banger_api::v1::{
    CreateVmRequest, CreateVolumeRequest, DeleteVmRequest, DeleteVolumeRequest, GetCapacityRequest,
    GetVmRequest, GetVolumeRequest, ListVolumesRequest, VmVolume, Volume, operation::Outcome,
    system_service_client::SystemServiceClient, vm_volume::Source,
    volume_service_client::VolumeServiceClient,
};
use banger_client::Client;
use banger_grpc::{
    capacity::{Budget, Limit},
    server::Limits,
};
use tonic::{Code, transport::Channel};

use super::{
    certificates::{Papers, options},
    harness::{HASTY, Running, create, fresh, reason, succeeded, wait},
};

const MIB: u64 = 1 << 20;

fn volumes(running: &Running) -> VolumeServiceClient<Channel> {
    VolumeServiceClient::new(running.channel.clone())
}

fn make(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest {
        request_id: fresh(),
        volume_id: name.to_owned(),
        size_bytes: 16 * MIB,
        wait: wait(60),
    }
}

fn remove(name: &str, uid: &str) -> DeleteVolumeRequest {
    DeleteVolumeRequest {
        request_id: fresh(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        wait: wait(60),
        ..DeleteVolumeRequest::default()
    }
}

/// A machine with that volume at `/data`.
fn with(name: &str, source: Source) -> CreateVmRequest {
    let mut request = create(name);
    let spec = request.spec.as_mut().unwrap();
    spec.volumes = vec![VmVolume {
        source: Some(source),
        target: "/data".to_owned(),
        ..VmVolume::default()
    }];
    request
}

fn named(name: &str) -> Source {
    Source::Volume(format!("volumes/{name}"))
}

async fn show(running: &Running, name: &str) -> Volume {
    let name = format!("volumes/{name}");
    let shown = volumes(running).get_volume(GetVolumeRequest { name }).await;
    shown.unwrap().into_inner().volume.unwrap()
}

/// A machine has it, and it cannot be deleted.
async fn is_kept_by_a_machine(running: &Running) {
    let vm = running.vms().create_vm(with("one", named("data"))).await;
    succeeded(vm.unwrap().into_inner().operation);
    let name = "vms/one".to_owned();
    let shown = running.vms().get_vm(GetVmRequest { name }).await.unwrap();
    let spec = shown.into_inner().vm.unwrap().spec.unwrap();
    assert_eq!(spec.volumes[0].source, Some(named("data")));
    assert_eq!(show(running, "data").await.vms, ["vms/one"]);
    let used = volumes(running)
        .delete_volume(remove("volumes/data", ""))
        .await;
    let Some(Outcome::Failure(failure)) = used.unwrap().into_inner().operation.unwrap().outcome
    else {
        panic!("a volume was deleted that a machine has");
    };
    assert_eq!(failure.reason().as_str_name(), "ERROR_REASON_VOLUME_IN_USE");
    assert_eq!(failure.metadata["vms"], "one");
    let end = DeleteVmRequest {
        request_id: fresh(),
        name: "vms/one".to_owned(),
        wait: wait(60),
        ..DeleteVmRequest::default()
    };
    let ended = running.vms().delete_vm(end).await.unwrap();
    succeeded(ended.into_inner().operation);
}

#[tokio::test]
async fn a_volume_is_made_once_and_is_that_volume_and_no_other_of_its_name() {
    let running = Running::serving(HASTY).await;
    running.prepare().await;
    let request = make("data");
    let made = volumes(&running).create_volume(request.clone()).await;
    let made = succeeded(made.unwrap().into_inner().operation);
    assert_eq!(made.target, "volumes/data");
    let running = running.again(HASTY).await;
    let again = volumes(&running).create_volume(request).await.unwrap();
    assert_eq!(again.into_inner().operation.unwrap().name, made.name);
    let first = show(&running, "data").await;
    assert_eq!(made.outcome, Some(Outcome::Volume(first.clone())));
    assert_eq!(first.create_operation, made.name);
    let taken = volumes(&running).create_volume(make("data")).await.unwrap();
    let taken = taken.into_inner().operation.unwrap();
    let Some(Outcome::Failure(failure)) = taken.outcome else {
        panic!("{taken:?}");
    };
    assert_eq!(failure.reason().as_str_name(), "ERROR_REASON_VOLUME_EXISTS");

    is_kept_by_a_machine(&running).await;

    // another one of the name is none that was asked for
    let request = remove("volumes/data", &first.uid);
    let deleted = volumes(&running)
        .delete_volume(request.clone())
        .await
        .unwrap();
    succeeded(deleted.into_inner().operation);
    let second = volumes(&running).create_volume(make("data")).await.unwrap();
    succeeded(second.into_inner().operation);
    let answered = volumes(&running).delete_volume(request).await.unwrap();
    succeeded(answered.into_inner().operation);
    assert_ne!(show(&running, "data").await.uid, first.uid);
    let other = remove("volumes/data", &first.uid);
    let missing = volumes(&running)
        .delete_volume(other.clone())
        .await
        .unwrap_err();
    assert_eq!(reason(&missing), "VOLUME_NOT_FOUND");
    let fine = DeleteVolumeRequest {
        allow_missing: true,
        ..other
    };
    let fine = volumes(&running).delete_volume(fine).await.unwrap();
    assert_eq!(succeeded(fine.into_inner().operation).outcome, None);
    show(&running, "data").await;
}

#[tokio::test]
async fn volumes_take_room_as_disks_do() {
    let limit = Limit {
        disk: Some(3 * MIB),
        ..Limit::default()
    };
    let budget = Budget {
        host: limit,
        ..Budget::default()
    };
    // 16 times 3 MiB is enough for three of these
    let running = Running::with_budget(Limits::default(), budget).await;
    for number in 0..3 {
        let made = volumes(&running)
            .create_volume(make(&format!("v{number}")))
            .await;
        succeeded(made.unwrap().into_inner().operation);
    }
    let full = volumes(&running)
        .create_volume(make("more"))
        .await
        .unwrap_err();
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (Code::ResourceExhausted, "HOST_FULL")
    );
    let mut system = SystemServiceClient::new(running.channel.clone());
    let told = system.get_capacity(GetCapacityRequest {}).await.unwrap();
    let told = told.into_inner();
    assert_eq!(told.committed.unwrap().disk_bytes, 48 * MIB);
    assert_eq!(told.owned.unwrap().disk_bytes, 48 * MIB);
    assert_eq!(told.reserved.unwrap().disk_bytes, 0);
    let gone = volumes(&running)
        .delete_volume(remove("volumes/v0", ""))
        .await;
    succeeded(gone.unwrap().into_inner().operation);
    let more = volumes(&running).create_volume(make("more")).await.unwrap();
    succeeded(more.into_inner().operation);
}

/// The reason that a caller is refused with, and the words.
async fn refused(client: &Client, request: CreateVmRequest) -> (String, String) {
    let refused = client.vms().create_vm(request).await.unwrap_err();
    (reason(&refused), refused.message().to_owned())
}

#[tokio::test]
async fn what_is_anothers_is_not_there_and_paths_are_the_admins() {
    let papers = Papers::new();
    papers.list(&[
        ("ann", "token-of-ann", &["vms:own", "images"]),
        ("bob", "token-of-bob", &["vms:own", "images"]),
        ("root", "token-of-root", &["admin"]),
    ]);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let client = |token| papers.client(&running, Some(token), None);
    let (ann, bob) = (client("token-of-ann"), client("token-of-bob"));
    let root = client("token-of-root");
    ann.change(make("anns")).await.unwrap();
    let list = async |client: &Client| {
        let mut volumes = client.volumes();
        let listed = volumes.list_volumes(ListVolumesRequest::default()).await;
        let listed = listed.unwrap().into_inner().volumes.into_iter();
        listed.map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(list(&ann).await, ["volumes/anns"]);
    assert_eq!(list(&root).await, ["volumes/anns"]);
    assert!(list(&bob).await.is_empty());

    // both answers, but for the name
    let mut answers = Vec::new();
    for id in ["anns", "none"] {
        let name = format!("volumes/{id}");
        let get = GetVolumeRequest { name: name.clone() };
        let got = bob.volumes().get_volume(get).await.unwrap_err();
        let deleted = bob.volumes().delete_volume(remove(&name, "")).await;
        let deleted = deleted.unwrap_err();
        let had = refused(&bob, with("bobs", named(id))).await;
        let checked = CreateVmRequest {
            validate_only: true,
            ..with("bobs", named(id))
        };
        let checked = refused(&bob, checked).await;
        let told = [got, deleted].map(|status| (reason(&status), status.message().to_owned()));
        let told = told.into_iter().chain([had, checked]);
        answers.push(
            told.map(|(reason, words)| (reason, words.replace(id, "NAME")))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(answers[0], answers[1]);
    assert!(
        answers[0]
            .iter()
            .all(|(reason, _)| reason == "VOLUME_NOT_FOUND")
    );

    // a directory of the host
    let path = with("paths", Source::HostPath("/etc".to_owned()));
    assert_eq!(refused(&ann, path.clone()).await.0, "OUT_OF_SCOPE");
    let checked = CreateVmRequest {
        validate_only: true,
        ..path
    };
    assert_eq!(refused(&ann, checked).await.0, "OUT_OF_SCOPE");
    root.change(with("roots", named("anns"))).await.unwrap();
    ann.change(with("anns", named("anns"))).await.unwrap();
}
