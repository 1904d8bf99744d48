//! Lists: pages of many records while others come and go, orders, masks.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use banger_api::v1::{
    ListImagesRequest, ListKernelsRequest, ListOperationsRequest, ListVmsRequest,
    kernel_service_client::KernelServiceClient,
};
use banger_core::{
    domain::{ImageId, Vm, VmId, VmSpec, VmState},
    store::Store,
};
use banger_grpc::server::Limits;
use prost_types::FieldMask;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::harness::{Running, reason};

/// Records that are there for the whole of a walk.
const MANY: u64 = 10_000;

fn record(number: u64, name: &str, image: ImageId) -> Vm {
    let mut spec = VmSpec::default();
    let parity = if number.is_multiple_of(2) {
        "even"
    } else {
        "odd"
    };
    spec.labels.insert("parity".to_owned(), parity.to_owned());
    Vm {
        id: VmId::generate(),
        name: name.parse().unwrap(),
        image,
        spec,
        state: VmState::Created,
        reason: String::new(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        // several of each moment
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(number / 7),
        started: None,
        stopped: None,
        generation: 1,
    }
}

/// Makes and removes records.
struct Churn<'a> {
    store: &'a Store,
    image: ImageId,
    rounds: u64,
    others: Vec<VmId>,
}

impl Churn<'_> {
    /// Some come and some go.
    async fn go_on(&mut self) {
        for _ in 0..5 {
            let place = self.rounds * 6_151 % MANY;
            let name = format!("vm-{place:05}-x{}", self.rounds);
            let other = record(place, &name, self.image);
            self.store.insert_vm(&other).await.unwrap();
            self.others.push(other.id);
            if 5 < self.others.len() {
                let place = usize::try_from(self.rounds % 5).unwrap();
                let gone = self.others.remove(place);
                assert!(self.store.delete_vm(gone).await.unwrap());
            }
            self.rounds += 1;
        }
    }
}

/// The names on all pages, while others come and go, if any.
async fn walk(
    running: &Running,
    request: &ListVmsRequest,
    mut churn: Option<&mut Churn<'_>>,
) -> Vec<String> {
    let (mut names, mut request) = (Vec::new(), request.clone());
    loop {
        let mut vms = running.vms();
        let asking = vms.list_vms(request.clone());
        let answer = match &mut churn {
            Some(churn) => tokio::join!(asking, churn.go_on()).0,
            None => asking.await,
        };
        let page = answer.unwrap().into_inner();
        assert!(page.vms.len() <= 1000);
        names.extend(page.vms.into_iter().map(|vm| vm.name));
        if page.next_page_token.is_empty() {
            return names;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn ten_thousand_machines_are_each_met_once_while_others_come_and_go() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let store = running.store().await;
    let image = store.images().await.unwrap()[0].id;
    for number in 0..MANY {
        let name = format!("vm-{number:05}");
        store
            .insert_vm(&record(number, &name, image))
            .await
            .unwrap();
    }
    let stays: BTreeSet<String> = (0..MANY)
        .map(|number| format!("vms/vm-{number:05}"))
        .collect();
    let even = stays.iter().step_by(2).cloned().collect();
    let mut churn = Churn {
        store: &store,
        image,
        rounds: 0,
        others: Vec::new(),
    };
    for (order_by, filter, expected) in [
        ("", "", &stays),
        ("name desc", "", &stays),
        ("create_time", "", &stays),
        ("create_time desc", "labels.parity=even", &even),
    ] {
        let request = ListVmsRequest {
            page_size: 173,
            order_by: order_by.to_owned(),
            filter: filter.to_owned(),
            ..ListVmsRequest::default()
        };
        let names = walk(&running, &request, Some(&mut churn)).await;
        let known: Vec<&String> = names.iter().filter(|name| stays.contains(*name)).collect();
        assert_eq!(known.len(), expected.len(), "{request:?}");
        let met: BTreeSet<String> = known.into_iter().cloned().collect();
        assert_eq!(met, *expected, "{request:?}");
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_filter_and_its_order_alone() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let store = running.store().await;
    let image = store.images().await.unwrap()[0].id;
    for number in 0..4 {
        let one = record(number, &format!("vm-{number}"), image);
        store.insert_vm(&one).await.unwrap();
    }
    let first = ListVmsRequest {
        page_size: 1,
        filter: "state=CREATED AND name!=vm-1".to_owned(),
        order_by: "create_time desc".to_owned(),
        ..ListVmsRequest::default()
    };
    let answer = running.vms().list_vms(first.clone()).await.unwrap();
    let next = ListVmsRequest {
        page_token: answer.get_ref().next_page_token.clone(),
        ..first
    };
    let mut all = walk(&running, &next, None).await;
    all.insert(0, answer.into_inner().vms[0].name.clone());
    assert_eq!(all, ["vms/vm-3", "vms/vm-2", "vms/vm-0"]);
    let forged = [
        ListVmsRequest {
            order_by: "create_time".to_owned(),
            ..next.clone()
        },
        ListVmsRequest {
            filter: String::new(),
            ..next.clone()
        },
        ListVmsRequest {
            order_by: "name".to_owned(),
            ..next
        },
    ];
    for request in forged {
        let refused = running.vms().list_vms(request).await.unwrap_err();
        assert_eq!(fields(&refused), ["page_token"]);
    }
}

fn fields(status: &tonic::Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(status), "INVALID_REQUEST");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations.iter().map(|one| one.field.clone()).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "it is what requests hold")]
fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

#[tokio::test]
async fn every_list_has_orders_and_masks() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let store = running.store().await;
    let image = store.images().await.unwrap()[0].id;
    let one = record(0, "one", image);
    store.insert_vm(&one).await.unwrap();

    let request = ListVmsRequest {
        read_mask: mask(&["name", "spec.labels"]),
        ..ListVmsRequest::default()
    };
    let listed = running.vms().list_vms(request).await.unwrap().into_inner();
    let vm = &listed.vms[0];
    assert_eq!((vm.name.as_str(), vm.uid.as_str()), ("vms/one", ""));
    let spec = vm.spec.as_ref().unwrap();
    assert_eq!((spec.labels.len(), spec.vcpus), (1, 0));

    let request = ListImagesRequest {
        order_by: "create_time desc".to_owned(),
        read_mask: mask(&["uid"]),
        ..ListImagesRequest::default()
    };
    let listed = running.images().list_images(request).await.unwrap();
    let listed = &listed.get_ref().images[0];
    assert_eq!(
        (listed.uid.clone(), listed.name.as_str()),
        (image.to_string(), "")
    );

    let mut kernels = KernelServiceClient::new(running.channel.clone());
    let request = ListKernelsRequest {
        order_by: "name desc".to_owned(),
        read_mask: mask(&["name"]),
        ..ListKernelsRequest::default()
    };
    let listed = kernels.list_kernels(request).await.unwrap().into_inner();
    assert_eq!(listed.kernels[0].name, "kernels/linux");
    assert_eq!(listed.kernels[0].digest, "");

    let oldest = ListOperationsRequest {
        page_size: 1,
        order_by: "create_time".to_owned(),
        read_mask: mask(&["kernel.name"]),
        ..ListOperationsRequest::default()
    };
    let mut operations = running.operations();
    let listed = operations.list_operations(oldest.clone()).await.unwrap();
    let listed = listed.into_inner();
    assert!(listed.operations[0].outcome.is_some() && listed.operations[0].name.is_empty());
    let next = ListOperationsRequest {
        page_token: listed.next_page_token,
        ..oldest
    };
    let listed = operations.list_operations(next).await.unwrap().into_inner();
    assert!(listed.operations[0].outcome.is_none() && listed.next_page_token.is_empty());

    let wrong = ListVmsRequest {
        order_by: "state".to_owned(),
        read_mask: mask(&["name", "colour", "spec.labels.a"]),
        ..ListVmsRequest::default()
    };
    let refused = running.vms().list_vms(wrong).await.unwrap_err();
    assert_eq!(fields(&refused), ["order_by", "read_mask", "read_mask"]);
}
