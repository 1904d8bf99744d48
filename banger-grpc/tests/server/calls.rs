//! What surrounds calls: ids of requests, bounds, and what is counted.

use std::{collections::BTreeMap, time::Duration};

use banger_api::v1::{GetVmRequest, ListVmsRequest, WatchVmsRequest};
use banger_api::v1::{
    event_service_client::EventServiceClient, vm_service_client::VmServiceClient,
};
use banger_grpc::{
    metrics::{MetricsError, MetricsListener},
    server::Limits,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::harness::{Running, reason};

const PATIENCE: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn a_requests_id_stands_in_answers_and_failures() {
    let running = Running::serving(Limits::default()).await;
    let named = |id: &'static str| {
        let name = "vms/nobody".to_owned();
        let mut request = Request::new(GetVmRequest { name });
        let headers = request.metadata_mut();
        headers.insert("x-request-id", id.parse().unwrap());
        let trace = format!("00-{TRACE}-00f067aa0ba902b7-01");
        headers.insert("traceparent", trace.parse().unwrap());
        request
    };
    let mut vms = VmServiceClient::new(running.channel.clone());
    let failure = vms.get_vm(named("mine.1")).await.unwrap_err();
    let details = failure.get_error_details();
    let info = details.request_info().unwrap();
    let told = (info.request_id.as_str(), info.serving_data.as_str());
    assert_eq!(told, ("mine.1", TRACE));
    assert_eq!(failure.metadata().get("x-request-id").unwrap(), "mine.1");
    let failure = vms.get_vm(named("not mine")).await.unwrap_err();
    let details = failure.get_error_details();
    let made = details.request_info().unwrap().request_id.clone();
    assert_eq!(made.len(), 36, "{made}");
    let fine = vms.list_vms(ListVmsRequest::default()).await.unwrap();
    assert_eq!(fine.metadata().get("x-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn a_caller_with_too_many_calls_is_told_when_to_try_again() {
    let running = Running::serving(Limits {
        calls_per_caller: 2,
        ..Limits::default()
    })
    .await;
    let mut events = EventServiceClient::new(running.channel.clone());
    let mut vms = VmServiceClient::new(running.channel.clone());
    let first = events.watch_vms(WatchVmsRequest::default()).await.unwrap();
    let second = events.watch_vms(WatchVmsRequest::default()).await.unwrap();
    let refused = vms.list_vms(ListVmsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");
    let details = refused.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while vms.list_vms(ListVmsRequest::default()).await.is_err() {
        assert!(Instant::now() < deadline, "the place is never free again");
        sleep(Duration::from_millis(20)).await;
    }
    drop(second);
}

/// What a page says, by series.
fn series(page: &str) -> BTreeMap<String, String> {
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        (name.to_owned(), value.to_owned())
    };
    samples.map(parse).collect()
}

#[tokio::test]
async fn what_is_counted_is_told_on_the_loopback_interface_alone() {
    let anywhere = MetricsListener::bind(([0, 0, 0, 0], 0).into()).await;
    assert!(matches!(anywhere, Err(MetricsError::Exposed { .. })));
    let running = Running::serving(Limits::default()).await;
    let listener = MetricsListener::bind(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let address = listener.address().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(listener.serve(running.meter.clone()));

    running.import_kernel().await;
    let mut vms = VmServiceClient::new(running.channel.clone());
    let name = "vms/secret-name".to_owned();
    vms.get_vm(GetVmRequest { name }).await.unwrap_err();
    let mut events = EventServiceClient::new(running.channel.clone());
    let watching = events.watch_vms(WatchVmsRequest::default()).await.unwrap();
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    };
    assert!(ask("/").await.starts_with("HTTP/1.1 404"));
    let page = ask("/metrics").await;
    assert!(!page.contains("secret-name"), "{page}");
    let series = series(&page);
    let of = |service: &str, method: &str| {
        format!("grpc_service=\"banger.v1.{service}\",grpc_method=\"{method}\"")
    };
    let get = of("VmService", "GetVm");
    let ended = format!("banger_rpcs_total{{{get},grpc_code=\"NOT_FOUND\"}}");
    assert_eq!(series[&ended], "1", "{page}");
    assert_eq!(
        series[&format!("banger_rpc_duration_seconds_count{{{get}}}")],
        "1"
    );
    let watch = of("EventService", "WatchVms");
    assert_eq!(series[&format!("banger_rpcs_in_flight{{{watch}}}")], "1");
    let imported = "banger_operations{kind=\"import_kernel\",state=\"succeeded\"}";
    assert_eq!(series[imported], "1", "{page}");
    drop(watching);
}
