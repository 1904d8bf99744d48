//! Real handshakes: who gets in, and what changes under a server that runs.

use std::{fs, sync::Arc, time::Duration};

use banger_api::v1::{GetServerInfoRequest, ListVmsRequest, WatchVmsRequest};
use banger_core::ErrorKind;
use banger_grpc::transport::{
    security::{Security, SecurityError, SecurityFiles},
    tcp::{ListenError, TlsListener},
};
use tokio::time::timeout;
use tonic::{Code, transport::Endpoint};

use super::{
    certificates::{Papers, options},
    harness::{Running, reason},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_certificate_lets_in_whom_the_authority_knows() {
    let papers = Papers::new();
    papers.certify("ann", "ca", "ann.test");
    papers.authority("other");
    papers.certify("stranger", "other", "ann.test");
    let running = Running::guarded(options(papers.with_certificates())).await;

    let ann = papers.client(&running, None, Some("ann"));
    let vms = ann.vms().list_vms(ListVmsRequest::default()).await.unwrap();
    assert!(vms.into_inner().vms.is_empty());

    for identity in [None, Some("stranger")] {
        let stranger = papers.client(&running, None, identity);
        let refused = stranger.vms().list_vms(ListVmsRequest::default()).await;
        let code = refused.unwrap_err().code();
        // the handshake ends it: there is nobody to tell why
        assert!(
            matches!(code, Code::Unavailable | Code::Unknown),
            "{code:?}"
        );
    }
    assert!(
        papers
            .channel(&running, "other", Some("ann"))
            .await
            .is_err()
    );
    // a claim counts more than a certificate
    let claims = papers.client(&running, Some("token"), Some("ann"));
    let refused = claims.vms().list_vms(ListVmsRequest::default()).await;
    assert_eq!(reason(&refused.unwrap_err()), "CALLER_UNAUTHENTICATED");
}

#[tokio::test]
async fn without_tls_there_is_nothing() {
    let papers = Papers::new();
    papers.list(&[("ann", "anns-token", &["admin"])]);
    let running = Running::guarded(options(papers.with_tokens())).await;
    let plain = format!("http://{}", running.address.unwrap());
    let channel = Endpoint::try_from(plain).unwrap().connect_lazy();
    let mut system = banger_api::v1::system_service_client::SystemServiceClient::new(channel);
    let mut request = tonic::Request::new(GetServerInfoRequest {});
    let token = "Bearer anns-token".parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    let refused = timeout(PATIENCE, system.get_server_info(request)).await;
    assert!(refused.unwrap().is_err());

    // what says nothing is no obstacle for others
    let mut silent = Vec::new();
    for _ in 0..20 {
        let stream = tokio::net::TcpStream::connect(running.address.unwrap()).await;
        silent.push(stream.unwrap());
    }
    let ann = papers.client(&running, Some("anns-token"), None);
    ann.system()
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_listens_who_could_not_tell_who_calls() {
    let papers = Papers::new();
    let bind = async |files: SecurityFiles| {
        let security = Arc::new(Security::load(files).unwrap());
        let address = ([127, 0, 0, 1], 0).into();
        TlsListener::bind(address, security).await.unwrap_err()
    };
    let refused = bind(SecurityFiles {
        tokens: None,
        ..papers.with_tokens()
    });
    let ListenError::Security { source, .. } = refused.await else {
        panic!("another error");
    };
    assert!(matches!(source, SecurityError::NobodyCouldCall), "{source}");
    let refused = bind(SecurityFiles {
        certificate: None,
        key: None,
        ..papers.with_tokens()
    });
    let refused = refused.await;
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    let other = SecurityFiles {
        key: Some(papers.path("ca.key")),
        ..papers.with_tokens()
    };
    let error = Security::load(other).unwrap_err();
    assert!(matches!(error, SecurityError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn tokens_come_and_go_under_a_server_that_runs() {
    let papers = Papers::new();
    papers.list(&[
        ("ann", "first", &["vms:own"]),
        ("bob", "bobs", &["vms:own"]),
    ]);
    let options = options(papers.with_tokens());
    let security = Arc::clone(&options.security);
    let running = Running::guarded(options).await;
    let asks = async |token: &str| {
        let client = papers.client(&running, Some(token), None);
        let answer = client.vms().list_vms(ListVmsRequest::default()).await;
        answer.map(drop).map_err(|status| reason(&status))
    };
    let refused = Err("CALLER_UNAUTHENTICATED".to_owned());
    assert_eq!(asks("first").await, Ok(()));
    assert_eq!(asks("second").await, refused);
    let watch = async |token: &str| {
        let client = papers.client(&running, Some(token), None);
        let watched = client.events().watch_vms(WatchVmsRequest::default()).await;
        watched.unwrap().into_inner()
    };
    let (mut anns, mut bobs) = (watch("first").await, watch("bobs").await);
    anns.message().await.unwrap().unwrap();
    bobs.message().await.unwrap().unwrap();

    // what is broken changes nothing
    papers.write_tokens("[[token]]\n");
    security.reload();
    assert_eq!(asks("first").await, Ok(()));

    papers.list(&[
        ("ann", "second", &["images"]),
        ("bob", "bobs", &["vms:own"]),
    ]);
    security.reload();
    assert_eq!(asks("first").await, refused);
    assert_eq!(asks("second").await, Err("OUT_OF_SCOPE".to_owned()));
    assert_eq!(asks("bobs").await, Ok(()));
    // who watched with the old one does not any more; everybody else does
    let cut = timeout(PATIENCE, anns.message()).await.unwrap();
    assert_eq!(reason(&cut.unwrap_err()), "CALLER_UNAUTHENTICATED");
    let nothing = timeout(Duration::from_millis(500), bobs.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

#[tokio::test]
async fn a_certificate_is_replaced_under_a_server_that_runs() {
    let papers = Papers::new();
    papers.list(&[("ann", "anns", &["vms:own"])]);
    papers.authority("next");
    let options = options(papers.with_tokens());
    let security = Arc::clone(&options.security);
    let running = Running::guarded(options).await;
    let old = papers.client(&running, Some("anns"), None);
    let asks = || async {
        let answer = old.vms().list_vms(ListVmsRequest::default()).await;
        answer.map(drop)
    };
    asks().await.unwrap();
    assert!(papers.channel(&running, "ca", None).await.is_ok());
    assert!(papers.channel(&running, "next", None).await.is_err());

    // half of a change is none
    papers.certify("renewed", "next", "server.test");
    fs::write(papers.path("server.crt"), papers.read("renewed.crt")).unwrap();
    security.reload();
    assert!(papers.channel(&running, "ca", None).await.is_ok());
    fs::write(papers.path("server.key"), papers.read("renewed.key")).unwrap();
    security.reload();
    assert!(papers.channel(&running, "next", None).await.is_ok());
    assert!(papers.channel(&running, "ca", None).await.is_err());
    // a connection stays what it was made with
    asks().await.unwrap();
}
