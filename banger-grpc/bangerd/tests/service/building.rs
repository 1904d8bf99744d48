//! Builds whose service is killed, and builds that are given up.

use std::{thread, time::Duration};

use banger_api::v1::{
    BuildImageRequest, CancelOperationRequest, GetImageRequest, ListImagesRequest, ListVmsRequest,
    Operation, OperationState, operation_event::Event,
};
use banger_client::{Change as _, Client};

use super::{
    cut::{BUDGET, with_small},
    daemon::Daemon,
};

fn build(script: &str) -> BuildImageRequest {
    BuildImageRequest {
        base: "images/small".to_owned(),
        image_id: "built".to_owned(),
        commands: vec![script.to_owned()],
        ..BuildImageRequest::default()
    }
    .identified()
}

/// Waits until the guest says that; answers all it said until then.
async fn heard(client: &Client, operation: &str, word: &str) -> String {
    let mut watch = client.watch_operation(operation, 0);
    let mut said = String::new();
    while !said.contains(word) {
        let told = watch.next().await.unwrap().expect("the build ended");
        match told.event {
            Some(Event::BuildOutput(output)) => said += &String::from_utf8_lossy(&output.data),
            Some(Event::Ended(operation)) => panic!("{operation:?}"),
            _ => {}
        }
    }
    said
}

/// Waits for the end.
async fn ended(client: &Client, operation: &str) -> Operation {
    let mut watch = client.watch_operation(operation, 0);
    while let Some(told) = watch.next().await.unwrap() {
        if let Some(Event::Ended(operation)) = told.event {
            return operation;
        }
    }
    panic!("the operation has no end");
}

/// Nothing of machines is left, some moments later.
async fn assert_no_machine(daemon: &Daemon, client: &Client) {
    let directory = daemon.root.join("state/vms");
    let mut rounds = 0..300;
    while directory.read_dir_utf8().unwrap().next().is_some() {
        assert!(rounds.next().is_some(), "a machine is left");
        thread::sleep(Duration::from_millis(100));
    }
    let listed = client.vms().list_vms(ListVmsRequest::default()).await;
    assert!(listed.unwrap().into_inner().vms.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_with_the_next_service() {
    let (mut daemon, client) = with_small().await;
    let request = build("echo begun; sleep 3; echo done");
    let begun = client.images().build_image(request.clone()).await.unwrap();
    let name = begun.into_inner().operation.unwrap().name;
    heard(&client, &name, "begun").await;
    daemon.signal("KILL");
    daemon.wait();
    daemon.again();

    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    let again = ended(&client, &name).await;
    assert_eq!(again.state(), OperationState::Succeeded, "{again:?}");
    let listed = client
        .images()
        .list_images(ListImagesRequest::default())
        .await;
    let images = listed.unwrap().into_inner().images;
    let names: Vec<&str> = images.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["images/built", "images/small"]);
    assert_no_machine(&daemon, &client).await;
    // the image was made; the same request answers so
    let same = client.images().build_image(request).await.unwrap();
    assert_eq!(same.into_inner().operation.unwrap().name, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_given_up_has_no_machine_when_it_ended() {
    let (daemon, client) = with_small().await;
    let request = build("echo begun; sleep 600");
    let begun = client.images().build_image(request).await.unwrap();
    let name = begun.into_inner().operation.unwrap().name;
    heard(&client, &name, "begun").await;
    let cancel = CancelOperationRequest { name: name.clone() };
    client.operations().cancel_operation(cancel).await.unwrap();
    let cancelled = ended(&client, &name).await;
    assert_eq!(cancelled.state(), OperationState::Cancelled);
    let listed = client.vms().list_vms(ListVmsRequest::default()).await;
    assert!(listed.unwrap().into_inner().vms.is_empty());
    let built = GetImageRequest {
        name: "images/built".to_owned(),
    };
    assert!(client.images().get_image(built).await.is_err());
    assert_no_machine(&daemon, &client).await;
}
