//! What strangers, small scopes and other owners learn: nothing.

use std::{collections::BTreeSet, time::Duration};

use banger_api::v1::{
    CreateVmRequest, DeleteVmRequest, GetOperationRequest, GetVmRequest, ListOperationsRequest,
    ListVmsRequest, PullImageRequest, VmSpec, WatchVmsRequest, WatchVmsResponse,
    watch_vms_response::Message as Told,
};
use banger_client::Client;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming, client::Grpc, transport::Channel};
use tonic_types::StatusExt as _;

use super::{
    certificates::{Papers, options},
    fuzz::{Raw, methods},
    harness::{Running, fresh, reason, succeeded, wait},
};

/// How long a stream is listened to.
const LISTENING: Duration = Duration::from_millis(400);

/// Two owners, one who may see images alone, one who may nothing, and an admin.
const TOKENS: [(&str, &str, &[&str]); 5] = [
    ("ann", "token-of-ann", &["vms:own", "images"]),
    ("bob", "token-of-bob", &["vms:own", "images"]),
    ("ivy", "token-of-ivy", &["images"]),
    ("nil", "token-of-nil", &[]),
    ("root", "token-of-root", &["admin"]),
];

/// A call's end: what was sent, and what it failed with.
type Answer = (Vec<Bytes>, Option<Status>);

async fn ask(
    channel: &Channel,
    authorization: Option<&str>,
    method: &MethodDescriptor,
    sent: &DynamicMessage,
) -> Answer {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::iter([Bytes::from(sent.encode_to_vec())]));
    if let Some(claim) = authorization {
        let claim = claim.parse().unwrap();
        request.metadata_mut().insert("authorization", claim);
    }
    let mut told = Vec::new();
    let mut stream = match grpc.streaming(request, path.parse().unwrap(), Raw).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (told, Some(status)),
    };
    while let Ok(next) = timeout(LISTENING, stream.message()).await {
        match next {
            Ok(Some(message)) => told.push(message),
            Ok(None) => break,
            Err(status) => return (told, Some(status)),
        }
    }
    (told, None)
}

/// Everything that a failure says, but for the request's own id, and with a name
/// taken out.
fn said(status: &Status, name: &str) -> String {
    let details = status.get_error_details();
    let request = details.request_info().expect("the request's id");
    let all = format!("{:?} {} {details:?}", status.code(), status.message());
    all.replace(&request.request_id, "REQUEST")
        .replace(name, "NAME")
}

#[tokio::test]
async fn whoever_has_no_credentials_gets_one_answer_whatever_is_asked() {
    let papers = Papers::new();
    papers.list(&TOKENS);
    let running = Running::guarded(options(papers.with_tokens())).await;
    let remote = papers.channel(&running, "ca", None).await.unwrap();
    let mut answers = BTreeSet::new();
    let claims = [
        None,
        Some("Bearer "),
        Some("Bearer token-of-an"),
        Some("Bearer token-of-ann "),
        Some("Basic token-of-ann"),
        Some("token-of-ann"),
    ];
    for method in methods() {
        for claim in claims {
            let sent = DynamicMessage::new(method.input());
            let (told, status) = ask(&remote, claim, &method, &sent).await;
            assert!(told.is_empty(), "{}", method.full_name());
            answers.insert(said(&status.unwrap(), "-"));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let answer = answers.first().unwrap();
    assert!(answer.starts_with("Unauthenticated"), "{answer}");
    assert!(answer.contains("CALLER_UNAUTHENTICATED"), "{answer}");
    // a token is one in any case of its scheme, and over the socket as well
    let system = methods()
        .into_iter()
        .find(|one| one.name() == "GetServerInfo");
    let (system, nothing) = (system.as_ref().unwrap(), "bearer wrong");
    let sent = DynamicMessage::new(system.input());
    let fine = ask(&remote, Some("BEARER token-of-nil"), system, &sent).await;
    assert!(fine.1.is_none(), "{fine:?}");
    let (_, refused) = ask(&running.channel, Some(nothing), system, &sent).await;
    assert_eq!(said(&refused.unwrap(), "-"), *answer);
}

#[tokio::test]
async fn a_scope_too_small_is_told_before_anything_is_looked_at() {
    let papers = Papers::new();
    papers.list(&TOKENS);
    // nothing is repaired yet: whoever may not call does not even learn that
    let running = Running::guarded(options(papers.with_tokens())).await;
    let remote = papers.channel(&running, "ca", None).await.unwrap();
    let mut refused = BTreeSet::new();
    for method in methods() {
        let sent = DynamicMessage::new(method.input());
        for (owner, claim) in [
            ("ivy", "Bearer token-of-ivy"),
            ("nil", "Bearer token-of-nil"),
        ] {
            let (_, status) = ask(&remote, Some(claim), &method, &sent).await;
            let code = status.as_ref().map_or(Code::Ok, Status::code);
            if code == Code::PermissionDenied {
                assert_eq!(reason(&status.unwrap()), "OUT_OF_SCOPE");
                let service = method.parent_service().name().to_owned();
                refused.insert((owner, service));
            }
        }
    }
    let all = |owner: &'static str, services: &[&str]| {
        let pairs = services.iter().map(move |one| (owner, (*one).to_owned()));
        pairs.collect::<BTreeSet<_>>()
    };
    let machines = ["EventService", "ExecService", "FileService", "VmService"];
    let images = ["ImageService", "KernelService"];
    let expected = all("ivy", &machines);
    let expected = &expected | &all("nil", &[&machines[..], &images].concat());
    assert!(expected.is_subset(&refused), "{refused:?}");

    // the host's own files are its own users'
    let bob = papers.client(&running, Some("token-of-bob"), None);
    let request = PullImageRequest {
        request_id: fresh(),
        reference: "rootfs-tar:/etc/shadow".to_owned(),
        ..PullImageRequest::default()
    };
    let refused = bob.images().pull_image(request).await.unwrap_err();
    assert_eq!(reason(&refused), "OUT_OF_SCOPE");
}

/// A request for that machine or operation, whatever the method.
fn about(message: &MessageDescriptor, vm: &str, operation: &str) -> DynamicMessage {
    let mut request = DynamicMessage::new(message.clone());
    let is_first = |field: &FieldDescriptor| {
        let oneof = field.containing_oneof();
        oneof.is_none_or(|one| one.fields().next().as_ref() == Some(field))
    };
    let is_of_operations = message.name().contains("Operation");
    let is_of_commands = ["AttachExec", "Attach", "DeleteExecRequest"].contains(&message.name());
    for field in message.fields().filter(is_first) {
        let value = match (field.name(), field.kind()) {
            ("request_id", _) => Value::String(fresh()),
            ("name", _) if is_of_operations => Value::String(operation.to_owned()),
            ("name", _) if is_of_commands => Value::String(format!("{vm}/execs/e")),
            ("attach" | "start" | "vm", Kind::Message(of)) => {
                Value::Message(about(&of, vm, operation))
            }
            ("name" | "vm", _) => Value::String(vm.to_owned()),
            ("port", _) => Value::U32(22),
            ("path" | "directory", Kind::Bytes) => Value::Bytes(Bytes::from_static(b"/")),
            ("argv" | "command", _) => Value::List(vec![Value::String("true".to_owned())]),
            _ => continue,
        };
        request.set_field(&field, value);
    }
    request
}

fn create(name: &str) -> CreateVmRequest {
    CreateVmRequest {
        request_id: fresh(),
        image: "images/small".to_owned(),
        vm_id: name.to_owned(),
        spec: Some(VmSpec {
            disk_bytes: 16 << 20,
            ..VmSpec::default()
        }),
        wait: wait(60),
        ..CreateVmRequest::default()
    }
}

/// An operation's name that is nobody's, of the same sort.
fn nobodys(operation: &str) -> String {
    let (collection, _) = operation.rsplit_once('/').unwrap();
    format!("{collection}/{}", fresh())
}

/// Fails unless a caller is told the same of both, each a machine and an operation.
/// Answers whether it was told that there is nothing.
async fn is_missing(
    channel: &Channel,
    method: &MethodDescriptor,
    foreign: [&str; 2],
    absent: [&str; 2],
) -> bool {
    const BOB: &str = "Bearer token-of-bob";
    let id = |name: &str| name.split_once('/').unwrap().1.to_owned();
    let mut told = Vec::new();
    for [vm, operation] in [foreign, absent] {
        let request = about(&method.input(), vm, operation);
        let (messages, status) = ask(channel, Some(BOB), method, &request).await;
        let words = status.as_ref().map(|status| {
            // the longer one first: the other one may begin it
            said(status, &id(operation)).replace(&id(vm), "NAME")
        });
        let is_missing = status.is_some_and(|status| status.code() == Code::NotFound);
        told.push((messages, words, is_missing));
    }
    assert_eq!(told[0], told[1], "{}", method.full_name());
    told[0].2
}

/// Methods that name one machine, command, file or operation.
const NAMING: [&str; 21] = [
    "AttachExec",
    "CancelOperation",
    "ConnectPort",
    "CreateExec",
    "DeleteExec",
    "DeleteVm",
    "GetOperation",
    "GetVm",
    "GetVmStats",
    "ListExecs",
    "PauseVm",
    "ReadFiles",
    "ReadVmLog",
    "RenewLease",
    "ResumeVm",
    "StartVm",
    "StatFile",
    "StopVm",
    "WaitOperation",
    "WatchOperation",
    "WriteFiles",
];

#[tokio::test]
async fn what_is_anothers_answers_as_what_is_not_there() {
    let papers = Papers::new();
    papers.list(&TOKENS);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let ann = papers.client(&running, Some("token-of-ann"), None);
    let made = ann.vms().create_vm(create("anns-vm")).await.unwrap();
    let made = succeeded(made.into_inner().operation);
    let name = "vms/anns-vm".to_owned();
    let shown = ann.vms().get_vm(GetVmRequest { name }).await.unwrap();
    let uid = format!("vms/{}", shown.into_inner().vm.unwrap().uid);
    let by_request = format!("operations/by-request/{}", made.request_id);

    let remote = papers.channel(&running, "ca", None).await.unwrap();
    // whoever creates names nothing that there is, but for the machine of a command
    let names = |one: &MethodDescriptor| !one.name().starts_with("Create");
    let methods = methods().into_iter();
    let methods: Vec<_> = methods
        .filter(|one| names(one) || one.name() == "CreateExec")
        .collect();
    let mut missing = BTreeSet::new();
    for (theirs, none) in [
        ("vms/anns-vm", "vms/none-vm".to_owned()),
        (&uid, format!("vms/{}", fresh())),
        // a part of an id is nobody's name
        (&uid[..12], "vms/0fffffff".to_owned()),
    ] {
        for (method, operation) in methods
            .iter()
            .flat_map(|one| [(one, &made.name), (one, &by_request)])
        {
            let (foreign, unknown) = ([theirs, operation], nobodys(operation));
            if is_missing(&remote, method, foreign, [&none, &unknown]).await {
                missing.insert(method.name().to_owned());
            }
        }
    }
    let naming: BTreeSet<String> = NAMING.map(str::to_owned).into();
    assert!(naming.is_subset(&missing), "{missing:?}");
}

async fn vms_of(client: &Client) -> Vec<String> {
    let listed = client.vms().list_vms(ListVmsRequest::default()).await;
    let listed = listed.unwrap().into_inner().vms.into_iter();
    listed.map(|vm| vm.name).collect()
}

async fn operations_of(client: &Client) -> usize {
    let request = ListOperationsRequest::default();
    let listed = client.operations().list_operations(request).await;
    listed.unwrap().into_inner().operations.len()
}

/// What a watcher hears until the bookmark, and in a moment after it.
async fn watched_by(client: &Client) -> Vec<String> {
    let stream = client.events().watch_vms(WatchVmsRequest::default()).await;
    let mut stream = stream.unwrap().into_inner();
    let mut names = Vec::new();
    while let Ok(next) = timeout(LISTENING, stream.message()).await {
        match next.unwrap().unwrap().message.unwrap() {
            Told::Existing(vm) => names.push(vm.name),
            Told::Change(change) => names.push(change.vm),
            Told::Bookmark(_) => {}
        }
    }
    names
}

#[tokio::test]
async fn lists_watches_and_ids_of_requests_are_each_owners_own() {
    let papers = Papers::new();
    papers.list(&TOKENS);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let client = |token| papers.client(&running, Some(token), None);
    let (ann, bob) = (client("token-of-ann"), client("token-of-bob"));
    let root = client("token-of-root");
    let mut requests = [create("anns"), create("bobs")];
    // the same id, another body
    requests[1].request_id = requests[0].request_id.clone();
    let [anns, bobs] = requests;
    let id = anns.request_id.clone();
    let anns = succeeded(
        ann.vms()
            .create_vm(anns)
            .await
            .unwrap()
            .into_inner()
            .operation,
    );
    let bobs = succeeded(
        bob.vms()
            .create_vm(bobs)
            .await
            .unwrap()
            .into_inner()
            .operation,
    );
    assert_ne!(anns.name, bobs.name);
    let name = format!("operations/by-request/{id}");
    let found = bob
        .operations()
        .get_operation(GetOperationRequest { name })
        .await;
    assert_eq!(
        found.unwrap().into_inner().operation.unwrap().name,
        bobs.name
    );

    let both = ["vms/anns", "vms/bobs"];
    assert_eq!(vms_of(&ann).await, both[..1]);
    assert_eq!(vms_of(&bob).await, both[1..]);
    assert_eq!(vms_of(&root).await, both);
    assert_eq!(
        (operations_of(&ann).await, operations_of(&bob).await),
        (1, 1)
    );
    assert_eq!(operations_of(&root).await, 4);
    assert_eq!(watched_by(&ann).await, both[..1]);
    let heard: BTreeSet<String> = watched_by(&root).await.into_iter().collect();
    assert_eq!(heard, both.map(str::to_owned).into());

    // changes, and the ends of machines, are told to their owners as well
    let stream = bob.events().watch_vms(WatchVmsRequest::default()).await;
    for (client, name) in [(&ann, both[0]), (&bob, both[1])] {
        let request = DeleteVmRequest {
            name: name.to_owned(),
            ..DeleteVmRequest::default()
        };
        client.change(request).await.unwrap();
    }
    let heard = changes_in(stream.unwrap().into_inner()).await;
    assert_eq!(heard, [both[1].to_owned()].into());
}

/// Whose changes a watcher hears in a moment.
async fn changes_in(mut stream: Streaming<WatchVmsResponse>) -> BTreeSet<String> {
    let mut heard = BTreeSet::new();
    while let Ok(next) = timeout(Duration::from_secs(1), stream.message()).await {
        if let Some(Told::Change(change)) = next.unwrap().unwrap().message {
            heard.insert(change.vm);
        }
    }
    heard
}
