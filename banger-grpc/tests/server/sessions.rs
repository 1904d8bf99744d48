//! Sessions: what is made in one lives as long as somebody keeps it, whatever
//! becomes of the server.

use std::time::Duration;

use banger_api::v1::{
    CreateVmRequest, EndSessionRequest, GetSessionRequest, KeepSessionRequest, LeaseExpiry,
    ListVmsRequest, Session, StartVmRequest, session_service_client::SessionServiceClient,
};
use banger_grpc::server::Limits;
use tokio::time::sleep;
use tonic::{Code, Status, transport::Channel};

use super::harness::{HASTY, Running, create, fresh, reason, succeeded, wait};

/// How long an end is waited for: far longer than any session of these tests lives.
const PATIENCE: Duration = Duration::from_mins(1);

fn sessions(running: &Running) -> SessionServiceClient<Channel> {
    SessionServiceClient::new(running.channel.clone())
}

async fn keep(running: &Running, name: &str, seconds: i64) -> Result<Session, Status> {
    let request = KeepSessionRequest {
        name: format!("sessions/{name}"),
        time_to_live: wait(seconds),
        ..KeepSessionRequest::default()
    };
    let kept = sessions(running).keep_session(request).await?;
    Ok(kept.into_inner().session.unwrap())
}

fn in_session(name: &str, session: &str) -> CreateVmRequest {
    CreateVmRequest {
        session: format!("sessions/{session}"),
        ..create(name)
    }
}

async fn names(running: &Running) -> Vec<String> {
    let listed = running.vms().list_vms(ListVmsRequest::default()).await;
    let listed = listed.unwrap().into_inner().vms;
    listed.into_iter().map(|vm| vm.name).collect()
}

async fn until(running: &Running, expected: &[&str]) {
    let looking = async {
        while names(running).await != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looking).await;
    assert!(looked.is_ok(), "{:?}", names(running).await);
}

#[tokio::test]
async fn machines_end_with_their_session_and_outlive_servers_in_it() {
    let running = Running::serving(HASTY).await;
    running.prepare().await;
    let kept = keep(&running, "short", 3).await.unwrap();
    keep(&running, "long", 3600).await.unwrap();
    for (name, session) in [("a", "short"), ("b", "short"), ("c", "long")] {
        let made = running.vms().create_vm(in_session(name, session)).await;
        let made = succeeded(made.unwrap().into_inner().operation);
        assert!(
            format!("{:?}", made.outcome).contains("sessions/"),
            "{made:?}"
        );
    }
    let alone = running.vms().create_vm(create("alone")).await.unwrap();
    succeeded(alone.into_inner().operation);
    // as long as somebody keeps it, nothing happens, whatever servers do
    let mut running = running;
    for round in 0..8 {
        if round % 3 == 2 {
            running = running.again(HASTY).await;
        }
        sleep(Duration::from_millis(500)).await;
        let again = keep(&running, "short", 3).await.unwrap();
        assert_eq!(again.uid, kept.uid);
    }
    assert_eq!(
        names(&running).await,
        ["vms/a", "vms/alone", "vms/b", "vms/c"]
    );
    // its client is gone, and so is a server meanwhile
    let running = running.again(HASTY).await;
    until(&running, &["vms/alone", "vms/c"]).await;
    let late = keep(&running, "short", 3).await.unwrap_err();
    assert_eq!(
        (late.code(), reason(&late).as_str()),
        (Code::FailedPrecondition, "SESSION_OVER")
    );
    let late = running.vms().create_vm(in_session("d", "short")).await;
    assert_eq!(reason(&late.unwrap_err()), "SESSION_OVER");
    let name = format!("sessions/{}", kept.uid);
    let found = sessions(&running)
        .get_session(GetSessionRequest { name })
        .await;
    assert!(
        found
            .unwrap()
            .into_inner()
            .session
            .unwrap()
            .end_time
            .is_some()
    );
}

#[tokio::test]
async fn a_session_is_ended_at_once_and_its_machines_are_not_started_again() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let name = "sessions/ci".to_owned();
    let request = KeepSessionRequest {
        name: name.clone(),
        on_expiry: LeaseExpiry::Stop.into(),
        ..KeepSessionRequest::default()
    };
    let kept = sessions(&running).keep_session(request).await.unwrap();
    let kept = kept.into_inner().session.unwrap();
    assert_eq!(kept.time_to_live, wait(60));
    let made = running.vms().create_vm(in_session("a", "ci")).await;
    succeeded(made.unwrap().into_inner().operation);
    for _ in 0..2 {
        let request = EndSessionRequest { name: name.clone() };
        let ended = sessions(&running).end_session(request).await.unwrap();
        assert!(ended.into_inner().session.unwrap().end_time.is_some());
    }
    let start = StartVmRequest {
        request_id: fresh(),
        name: "vms/a".to_owned(),
        ..StartVmRequest::default()
    };
    let refused = running.vms().start_vm(start).await.unwrap_err();
    assert_eq!(reason(&refused), "SESSION_OVER");
    assert_eq!(names(&running).await, ["vms/a"]);
    // no run of any machine belongs to a session that is over, or to none there is
    let made = running.vms().create_vm(create("alone")).await.unwrap();
    succeeded(made.into_inner().operation);
    for (session, why) in [
        ("sessions/ci", "SESSION_OVER"),
        ("sessions/nobody", "SESSION_NOT_FOUND"),
        ("nobody", "INVALID_REQUEST"),
    ] {
        let start = StartVmRequest {
            request_id: fresh(),
            name: "vms/alone".to_owned(),
            session: session.to_owned(),
            ..StartVmRequest::default()
        };
        let refused = running.vms().start_vm(start).await.unwrap_err();
        assert_eq!(reason(&refused), why);
    }

    let nobody = running.vms().create_vm(in_session("b", "nobody")).await;
    assert_eq!(reason(&nobody.unwrap_err()), "SESSION_NOT_FOUND");
    for seconds in [-1, 0, 100_000] {
        let wrong = keep(&running, "ci", seconds).await.unwrap_err();
        assert_eq!(reason(&wrong), "INVALID_REQUEST");
    }
}
