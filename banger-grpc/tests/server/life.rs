//! Phases, health, reflection.

use std::time::Duration;

use banger_api::v1::{
    DrainRequest, GetServerInfoRequest, GetVmRequest, OperationState, ServerPhase,
    WaitOperationRequest, system_service_client::SystemServiceClient,
    vm_service_client::VmServiceClient,
};
use banger_grpc::server::Limits;
use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use super::harness::{LARGE, Running, create, pull, reason, wait};

async fn phase(running: &Running) -> ServerPhase {
    let mut client = SystemServiceClient::new(running.channel.clone());
    let info = client.get_server_info(GetServerInfoRequest {}).await;
    info.unwrap().into_inner().phase()
}

async fn watch_health(running: &Running) -> Streaming<HealthCheckResponse> {
    let mut client = HealthClient::new(running.channel.clone());
    let request = HealthCheckRequest {
        service: String::new(),
    };
    client.watch(request).await.unwrap().into_inner()
}

async fn next(health: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    health.message().await.unwrap().unwrap().status()
}

#[tokio::test]
async fn health_follows_the_phases_and_the_end_waits_no_longer_than_the_limit() {
    let limits = Limits {
        drain: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut running = Running::start(limits).await;
    let mut health = watch_health(&running).await;
    assert_eq!(next(&mut health).await, ServingStatus::NotServing);
    assert_eq!(phase(&running).await, ServerPhase::Starting);
    let name = "vms/a".to_owned();
    let mut vms = VmServiceClient::new(running.channel.clone());
    let refused = vms.get_vm(GetVmRequest { name }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "SERVER_STARTING");
    running.open().await;
    assert_eq!(next(&mut health).await, ServingStatus::Serving);
    assert_eq!(phase(&running).await, ServerPhase::Serving);
    running.ask_to_end();
    assert_eq!(next(&mut health).await, ServingStatus::NotServing);
    // the watcher never goes away by itself
    running.ended().await;
}

#[tokio::test]
async fn drained_it_finishes_what_was_begun_and_begins_nothing() {
    let running = Running::serving(Limits::default()).await;
    running.import_kernel().await;
    let mut health = watch_health(&running).await;
    assert_eq!(next(&mut health).await, ServingStatus::Serving);
    let begun = running.images().pull_image(pull(LARGE)).await.unwrap();
    let name = begun.into_inner().operation.unwrap().name;

    let mut system = SystemServiceClient::new(running.channel.clone());
    let at_once = system.drain(DrainRequest { wait: None }).await.unwrap();
    assert!(at_once.get_ref().operations <= 1);
    assert_eq!(next(&mut health).await, ServingStatus::NotServing);
    assert_eq!(phase(&running).await, ServerPhase::Draining);
    let refused = running.vms().create_vm(create("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "SERVER_DRAINING");
    let details = refused.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());

    // once more, to its end
    let drained = system.drain(DrainRequest { wait: wait(120) }).await;
    let drained = drained.unwrap().into_inner();
    assert_eq!((drained.operations, drained.calls), (0, 0));
    let request = WaitOperationRequest {
        name,
        timeout: None,
    };
    let over = running.operations().wait_operation(request).await.unwrap();
    let over = over.into_inner().operation.unwrap();
    assert_eq!(over.state(), OperationState::Succeeded, "{over:?}");
    let refused = running.images().pull_image(pull(LARGE)).await.unwrap_err();
    assert_eq!(reason(&refused), "SERVER_DRAINING");

    let negative = DrainRequest { wait: wait(-1) };
    let refused = system.drain(negative).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_server_that_starts_cannot_be_drained() {
    let running = Running::start(Limits::default()).await;
    let mut system = SystemServiceClient::new(running.channel.clone());
    let refused = system.drain(DrainRequest { wait: None }).await.unwrap_err();
    assert_eq!(reason(&refused), "SERVER_STARTING");
    assert_eq!(phase(&running).await, ServerPhase::Starting);
}

#[tokio::test]
async fn reflection_of_today_describes_every_service() {
    let running = Running::start(Limits::default()).await;
    let mut client = ServerReflectionClient::new(running.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::iter([request]);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<String> = listed.service.into_iter().map(|one| one.name).collect();
    let mut system = SystemServiceClient::new(running.channel.clone());
    let info = system
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap();
    for service in &info.get_ref().services {
        assert!(names.contains(service), "{service} is not among {names:?}");
    }
}
