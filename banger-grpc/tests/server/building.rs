//! Builds that are refused, and builds that begin. (No machine boots in these tests.)

use banger_api::v1::{
    BuildCopy, BuildImageRequest, BuildInput, BuildScript, ErrorReason, Failure, ListVmsRequest,
    OperationState, build_input::Kind, operation::Outcome,
};
use banger_client::Client;
use banger_grpc::capacity::{Budget, Limit};

use super::{
    certificates::{Papers, options},
    harness::{HASTY, Running, fresh, reason, wait},
    uploads::upload,
};

/// Who may build, who may not run machines, and who may not make images.
const TOKENS: [(&str, &str, &[&str]); 4] = [
    ("ann", "token-of-ann", &["images", "vms:own"]),
    ("bob", "token-of-bob", &["images", "vms:own"]),
    ("ivy", "token-of-ivy", &["images"]),
    ("vic", "token-of-vic", &["vms:own"]),
];

fn copy(size_bytes: u64) -> BuildInput {
    BuildInput {
        shown: "/home/ann/tree".to_owned(),
        size_bytes,
        kind: Some(Kind::Copy(BuildCopy {
            destination: "/opt".to_owned(),
            is_directory: true,
        })),
    }
}

fn script(size_bytes: u64) -> BuildInput {
    BuildInput {
        shown: "/home/ann/script".to_owned(),
        size_bytes,
        kind: Some(Kind::Script(BuildScript {})),
    }
}

fn build(inputs: Vec<BuildInput>, upload: &str) -> BuildImageRequest {
    BuildImageRequest {
        request_id: fresh(),
        base: "images/small".to_owned(),
        image_id: "built".to_owned(),
        inputs,
        upload: upload.to_owned(),
        wait: wait(120),
        ..BuildImageRequest::default()
    }
}

/// The reason for which a request is refused.
async fn refused(client: &Client, request: BuildImageRequest) -> String {
    let answer = client.images().build_image(request).await;
    reason(&answer.unwrap_err())
}

/// What the operation failed with.
async fn failed(client: &Client, request: BuildImageRequest) -> Failure {
    let answer = client.images().build_image(request).await.unwrap();
    let operation = answer.into_inner().operation.unwrap();
    assert_eq!(operation.state(), OperationState::Failed, "{operation:?}");
    match operation.outcome {
        Some(Outcome::Failure(failure)) => failure,
        other => panic!("{other:?} is no failure"),
    }
}

#[tokio::test]
async fn builds_are_refused_that_do_not_add_up_or_are_not_the_callers() {
    let papers = Papers::new();
    papers.list(&TOKENS);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let client = |owner: &str| papers.client(&running, Some(&format!("token-of-{owner}")), None);
    let (ann, bob) = (client("ann"), client("bob"));
    for other in ["ivy", "vic"] {
        assert_eq!(
            refused(&client(other), build(Vec::new(), "")).await,
            "OUT_OF_SCOPE",
            "{other}"
        );
    }
    let sent = upload(&ann, b"#!/bin/sh").await;
    for request in [
        build(vec![script(8)], &sent),
        build(vec![script(9), script(1)], &sent),
        build(vec![script(u64::MAX), script(10)], &sent),
        build(Vec::new(), &sent),
        build(vec![script(0)], ""),
    ] {
        assert_eq!(refused(&ann, request).await, "INVALID_REQUEST");
    }
    let theirs = build(vec![script(9)], &sent);
    assert_eq!(refused(&bob, theirs).await, "UPLOAD_NOT_FOUND");
    let missing = BuildImageRequest {
        base: "images/none".to_owned(),
        ..build(vec![script(9)], &sent)
    };
    assert_eq!(refused(&ann, missing).await, "IMAGE_NOT_FOUND");
    let taken = BuildImageRequest {
        image_id: "small".to_owned(),
        ..build(Vec::new(), "")
    };
    let taken = failed(&ann, taken).await;
    assert_eq!(taken.reason(), ErrorReason::ImageExists);
}

#[tokio::test]
async fn what_is_no_parcel_is_named_and_leaves_nothing() {
    let papers = Papers::new();
    papers.list(&TOKENS);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let ann = papers.client(&running, Some("token-of-ann"), None);
    for parcel in [&b"no archive"[..], &[7; 3000], &[0; 512]] {
        let sent = upload(&ann, &[parcel, b"echo"].concat()).await;
        let inputs = vec![copy(parcel.len() as u64), script(4)];
        let request = build(inputs, &sent);
        let failure = failed(&ann, request.clone()).await;
        assert_eq!(failure.reason(), ErrorReason::InvalidRequest);
        let expected = "copy /home/ann/tree cannot be unpacked";
        assert!(failure.message.contains(expected), "{}", failure.message);
        let path = running.cache();
        assert!(
            !failure.message.contains(path.as_str()),
            "{}",
            failure.message
        );
        // the same request is the same operation, though the file went with it
        assert_eq!(failed(&ann, request).await, failure);
    }
    let uploads = running.cache().join("uploads");
    assert_eq!(uploads.read_dir_utf8().unwrap().count(), 0);
    let images = running.state().join("images");
    assert_eq!(images.read_dir_utf8().unwrap().count(), 1);
}

#[tokio::test]
async fn the_machine_of_a_build_is_counted_and_does_not_stay() {
    let host = Limit {
        memory: Some(1 << 30),
        ..Limit::default()
    };
    let budget = Budget {
        host,
        ..Budget::default()
    };
    let running = Running::with_budget(HASTY, budget).await;
    running.prepare().await;
    let client = Client::connect(&running.socket(), std::time::Duration::from_mins(1)).unwrap();
    let with_memory = |memory_bytes| BuildImageRequest {
        machine: Some(banger_api::v1::BuildMachine {
            memory_bytes,
            ..Default::default()
        }),
        ..build(Vec::new(), "")
    };
    let large = with_memory((1 << 30) + 1);
    assert_eq!(refused(&client, large).await, "HOST_FULL");
    // there is no monitor here that could boot it
    let failure = failed(&client, with_memory(1 << 29)).await;
    assert_eq!(failure.metadata["build"], "machine", "{failure:?}");
    let listed = client.vms().list_vms(ListVmsRequest::default()).await;
    assert!(listed.unwrap().into_inner().vms.is_empty());
    let images = running.state().join("images");
    assert_eq!(images.read_dir_utf8().unwrap().count(), 1);
}
