//! Phases, health, reflection.

use std::time::Duration;

use banger_api::v1::{
    GetServerInfoRequest, GetVmRequest, ServerPhase, system_service_client::SystemServiceClient,
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

use super::harness::{Running, reason};

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
