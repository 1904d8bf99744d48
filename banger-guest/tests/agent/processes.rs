//! What a started process is and how it ends.

use banger_proto::guest::v1::{ExecStart, exec_exit::Outcome};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::client::{Host, command};

fn environment(start: ExecStart, variables: &[&'static str]) -> ExecStart {
    let env = variables.iter().copied().map(Bytes::from).collect();
    ExecStart { env, ..start }
}

fn as_user(user: &str, argv: &[&str]) -> ExecStart {
    let user = user.to_owned();
    ExecStart {
        user,
        ..command(argv)
    }
}

#[tokio::test]
async fn exit_codes_are_exact() {
    let host = Host::connect().await;
    for code in [0, 1, 42, 126, 127, 255] {
        let finished = host.shell(&format!("exit {code}")).await;
        assert_eq!(finished.outcome, Some(Outcome::Code(code)));
    }
}

#[tokio::test]
async fn the_signal_that_ended_a_process_is_told() {
    let host = Host::connect().await;
    for signal in [1, 6, 9, 15] {
        let finished = host.shell(&format!("kill -{signal} $$")).await;
        assert_eq!(finished.outcome, Some(Outcome::Signal(signal)));
    }
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group() {
    let host = Host::connect().await;
    let script = "sleep 1000 & trap 'wait; echo trapped; exit 7' USR1; echo up; wait; wait";
    let mut running = host.start(command(&["sh", "-c", script])).await.unwrap();
    running.expect("up").await;
    running.signal(10).await;
    let finished = running.finish().await;
    assert_eq!(finished.text(), "trapped");
    assert_eq!(finished.outcome, Some(Outcome::Code(7)));
}

#[tokio::test]
async fn a_process_leads_its_own_session_with_default_signals_and_three_streams() {
    let host = Host::connect().await;
    let running = host
        .start(command(&[
            "sh",
            "-c",
            "cut -d' ' -f1,5,6 /proc/$$/stat; umask; pwd",
        ]))
        .await
        .unwrap();
    let pid = running.pid;
    let finished = running.finish().await;
    assert_eq!(finished.success(), format!("{pid} {pid} {pid}\n0022\n/"));
    let signals = host
        .run(command(&[
            "grep",
            "-E",
            "^Sig(Blk|Ign):",
            "/proc/self/status",
        ]))
        .await;
    let sets: Vec<_> = signals
        .success()
        .lines()
        .map(|line| line.split_once('\t').unwrap().1)
        .collect();
    assert_eq!(sets, ["0000000000000000"; 2]);
    // the fourth is the directory that is being listed
    assert_eq!(
        host.run(command(&["ls", "/proc/self/fd"])).await.success(),
        "0\n1\n2\n3"
    );
    assert_eq!(
        host.run(command(&["cat", "/proc/self/oom_score_adj"]))
            .await
            .success(),
        "0"
    );
}

#[tokio::test]
async fn the_environment_is_the_one_given_and_completed() {
    let host = Host::connect().await;
    let finished = host.run(command(&["env"])).await;
    assert_eq!(
        finished.success(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root"
    );
    let given = environment(
        command(&["/usr/bin/env"]),
        &["PATH=/nowhere", "HOME=/h", "A=b=c"],
    );
    assert_eq!(
        host.run(given).await.success(),
        "PATH=/nowhere\nHOME=/h\nA=b=c"
    );
    let nobody = as_user("nobody", &["sh", "-c", "echo $HOME"]);
    assert_eq!(host.run(nobody).await.success(), "/nonexistent");
    let stranger = as_user("4242", &["sh", "-c", "echo $HOME"]);
    assert_eq!(host.run(stranger).await.success(), "/");
}

#[tokio::test]
async fn programs_are_found_in_the_path_of_the_request() {
    let host = Host::connect().await;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("greet");
    std::os::unix::fs::symlink("/bin/echo", &program).unwrap();
    // a directory of the same name is passed over
    std::fs::create_dir_all(directory.path().join("first/greet")).unwrap();
    let path = format!("PATH={0}/missing:{0}/first:{0}", directory.path().display());
    let mut start = command(&["greet", "hello"]);
    start.env = vec![path.into()];
    assert_eq!(host.run(start).await.success(), "hello");
    let mut start = command(&["./greet", "here"]);
    start.working_directory = directory.path().to_str().unwrap().to_owned().into();
    assert_eq!(host.run(start).await.success(), "here");
}

#[tokio::test]
async fn users_and_groups_by_name_and_number() {
    let host = Host::connect().await;
    for (user, expected) in [
        ("nobody", "65534 65534 65534"),
        ("65534", "65534 65534 65534"),
        ("nobody:daemon", "65534 1 1"),
        ("1234:5678", "1234 5678 5678"),
        ("1234", "1234 0 0"),
        ("", "0 0 0"),
    ] {
        let ids = "echo $(id -u) $(id -g) $(id -G)";
        let finished = host.run(as_user(user, &["sh", "-c", ids])).await;
        assert_eq!(finished.success(), expected, "{user}");
    }
}

#[tokio::test]
async fn a_user_can_open_its_own_streams_again() {
    let host = Host::connect().await;
    let script = "echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin";
    let finished = host.run(as_user("nobody", &["sh", "-c", script])).await;
    assert_eq!(finished.success(), "out");
    assert_eq!(finished.stderr, b"err\n");
}

#[tokio::test]
async fn twenty_processes_at_a_time() {
    let host = Host::connect().await;
    let mut calls = JoinSet::new();
    let host = std::sync::Arc::new(host);
    for index in 0..20 {
        let host = std::sync::Arc::clone(&host);
        calls.spawn(async move {
            let script = format!("echo {index}; head -c 300000 /dev/zero; exit {index}");
            (index, host.shell(&script).await)
        });
    }
    let mut ended = 0;
    while let Some(call) = calls.join_next().await {
        let (index, finished) = call.unwrap();
        assert_eq!(finished.outcome, Some(Outcome::Code(index)));
        assert_eq!(finished.stdout.len(), 300_001 + index.to_string().len());
        ended += 1;
    }
    assert_eq!(ended, 20);
}
