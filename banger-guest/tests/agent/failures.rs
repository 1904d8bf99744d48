//! Processes that cannot be started, and clients that break the rules.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use banger_proto::guest::v1::{
    AttachExec, AttachExecRequest, CloseStdin, CreateExecRequest, ExecInput, ExecSignal, ExecStart,
    SpawnFailure, attach_exec_request::Request,
};
use bytes::Bytes;
use tempfile::TempDir;
use tonic::Code;

use crate::client::{Host, command, failure_of, soon};

fn file(directory: &TempDir, name: &str, mode: u32, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn missing_programs_are_not_found() {
    let host = Host::connect().await;
    for program in ["no-such-program", "/no/such", "./no", "/etc/passwd/x"] {
        let (failure, status) = host.failure(command(&[program])).await;
        assert_eq!(failure, SpawnFailure::NotFound, "{status:?}");
        assert!(status.message().starts_with(program), "{status:?}");
    }
}

#[tokio::test]
async fn what_is_no_program_is_not_executable() {
    let host = Host::connect().await;
    let directory = tempfile::tempdir().unwrap();
    let plain = file(&directory, "plain", 0o644, "#!/bin/sh\n");
    let text = file(&directory, "text", 0o755, "echo hello\n");
    let orphan = file(&directory, "orphan", 0o755, "#!/no/such/interpreter\n");
    for (path, cause) in [
        (plain, "Permission denied"),
        (directory.path().to_owned(), "Permission denied"),
        (text, "Exec format error"),
        (orphan, "its interpreter does not exist"),
    ] {
        let (failure, status) = host.failure(command(&[path.to_str().unwrap()])).await;
        assert_eq!(failure, SpawnFailure::NotExecutable, "{status:?}");
        assert!(status.message().contains(cause), "{status:?}");
    }
    // found in the path, but not executable there
    let mut start = command(&["plain"]);
    start.env = vec![format!("PATH={}", directory.path().display()).into()];
    assert_eq!(host.failure(start).await.0, SpawnFailure::NotExecutable);
}

#[tokio::test]
async fn bad_working_directories_are_named() {
    let host = Host::connect().await;
    for directory in ["/no/such", "/etc/passwd"] {
        let start = ExecStart {
            working_directory: Bytes::from(directory),
            ..command(&["true"])
        };
        let (failure, status) = host.failure(start).await;
        assert_eq!(failure, SpawnFailure::BadWorkingDirectory);
        assert!(status.message().contains(directory), "{status:?}");
    }
}

#[tokio::test]
async fn unknown_users_and_groups_are_named() {
    let host = Host::connect().await;
    for user in ["nosuchuser", "root:nosuchgroup", "-1"] {
        let start = ExecStart {
            user: user.to_owned(),
            ..command(&["true"])
        };
        let (failure, status) = host.failure(start).await;
        assert_eq!(failure, SpawnFailure::UnknownUser, "{status:?}");
    }
}

#[tokio::test]
async fn too_many_arguments_are_the_requests_fault() {
    let host = Host::connect().await;
    let mut start = command(&["true"]);
    // one string may have 128 KiB (execve(2), MAX_ARG_STRLEN)
    start.argv.push(Bytes::from(vec![b'x'; 256 << 10]));
    assert_eq!(host.failure(start).await.0, SpawnFailure::InvalidRequest);
}

#[tokio::test]
async fn a_request_must_name_a_session_and_a_program() {
    let host = Host::connect().await;
    let named = |exec_id: &str| CreateExecRequest {
        exec_id: exec_id.to_owned(),
        start: Some(command(&["true"])),
        ..CreateExecRequest::default()
    };
    let without_start = CreateExecRequest {
        start: None,
        ..named("a")
    };
    for request in [named(""), named("A"), without_start] {
        let refusal = host.create(request).await.unwrap_err();
        assert_eq!(failure_of(&refusal), SpawnFailure::InvalidRequest);
    }
    let empty = host.failure(command(&[])).await;
    assert_eq!(empty.0, SpawnFailure::InvalidRequest);
    assert!(host.list().await.is_empty(), "a failure leaves no session");
}

#[tokio::test]
async fn a_client_must_begin_with_attach() {
    let host = Host::connect().await;
    let refused = async |requests: Vec<AttachExecRequest>| {
        let requests = tokio_stream::iter(requests);
        let status = soon(host.client.clone().attach_exec(requests)).await;
        status.map(drop).unwrap_err()
    };
    let close = Some(Request::CloseStdin(CloseStdin {}));
    for request in [close, None] {
        let refusal = refused(vec![AttachExecRequest { request }]).await;
        assert_eq!(failure_of(&refusal), SpawnFailure::InvalidRequest);
    }
    let silent = refused(Vec::new()).await;
    assert_eq!(failure_of(&silent), SpawnFailure::InvalidRequest);
    let unknown = host.attach("nobody", 0).await.map(drop).unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_client_that_breaks_the_rules_is_sent_away() {
    let host = Host::connect().await;
    let signal = |number, ordinal| Request::Signal(ExecSignal { number, ordinal });
    let input = |offset, length| {
        let bytes = vec![0; length].into();
        Request::Input(ExecInput { offset, bytes })
    };
    for wrong in [
        Request::Attach(AttachExec::default()),
        signal(0, 0),
        signal(65, 0),
        signal(15, 1),
        input(0, banger_proto::MAX_EXEC_CHUNK + 1),
        input(1, 1),
    ] {
        let mut running = host.start(command(&["sleep", "1000"])).await.unwrap();
        running.request(wrong).await;
        let status = running.next().await.unwrap_err();
        assert_eq!(failure_of(&status), SpawnFailure::InvalidRequest);
    }
}
