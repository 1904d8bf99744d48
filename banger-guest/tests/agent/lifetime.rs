//! The life of calls and of the connection.

use std::os::fd::OwnedFd;

use banger_guest::agent::Ended;
use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{HelloRequest, PowerOffRequest, attach_exec_response::Response},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags, Signal},
};
use tonic::Code;

use crate::client::{Host, Running, command, on_terminal, soon};

fn watch(pid: &str) -> OwnedFd {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// Waits for the end of processes off the test's thread, which runs the agent.
async fn all_end(processes: Vec<OwnedFd>) {
    let waiting = tokio::task::spawn_blocking(move || {
        for process in processes {
            let mut polled = [PollFd::new(&process, PollFlags::IN)];
            let patience = Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            };
            let ended = rustix::event::poll(&mut polled, Some(&patience)).unwrap();
            assert_eq!(ended, 1, "a process lives on");
        }
    });
    soon(waiting).await.unwrap();
}

/// A process with a child, neither of which minds a hang-up.
async fn stubborn(host: &Host) -> (Running, Vec<OwnedFd>) {
    let script = "trap '' HUP; sleep 1000 & echo $!; wait";
    let mut running = host.start(command(&["sh", "-c", script])).await.unwrap();
    let child = watch(&running.expect("\n").await);
    let leader = watch(&running.pid.to_string());
    (running, vec![leader, child])
}

#[tokio::test]
async fn a_client_that_lets_go_ends_the_group() {
    let host = Host::connect().await;
    let (running, processes) = stubborn(&host).await;
    drop(running);
    all_end(processes).await;
    assert_eq!(host.shell("echo alive").await.success(), "alive");
}

#[tokio::test]
async fn a_client_that_lets_go_of_a_terminal_ends_the_group() {
    let host = Host::connect().await;
    let mut running = host
        .start(on_terminal(&["sh", "-c", "echo up; sleep 1000"], 24, 80))
        .await
        .unwrap();
    running.expect("up").await;
    let process = watch(&running.pid.to_string());
    drop(running);
    all_end(vec![process]).await;
}

#[tokio::test]
async fn a_full_stream_does_not_hide_that_the_client_is_gone() {
    let host = Host::connect().await;
    let mut running = host.start(command(&["yes"])).await.unwrap();
    assert!(matches!(
        running.next().await,
        Ok(Some(Response::Output(_)))
    ));
    let process = watch(&running.pid.to_string());
    drop(running);
    all_end(vec![process]).await;
}

#[tokio::test]
async fn a_lost_host_ends_everything() {
    let mut host = Host::connect().await;
    let (_running, processes) = stubborn(&host).await;
    host.hang_up();
    assert_eq!(host.agent_ended().await, Ended::HostGone);
    all_end(processes).await;
}

#[tokio::test]
async fn power_off_is_answered_and_leaves_the_processes_to_init() {
    let mut host = Host::connect().await;
    let (running, processes) = stubborn(&host).await;
    soon(host.client.power_off(PowerOffRequest {}))
        .await
        .unwrap();
    assert_eq!(host.agent_ended().await, Ended::PowerOff);
    let mut polled = processes
        .iter()
        .map(|process| PollFd::new(process, PollFlags::IN))
        .collect::<Vec<_>>();
    let ended = rustix::event::poll(&mut polled, Some(&Timespec::default())).unwrap();
    assert_eq!(ended, 0);
    for process in &processes {
        rustix::process::pidfd_send_signal(process, Signal::KILL).unwrap();
    }
    drop((running, host));
    all_end(processes).await;
}

#[tokio::test]
async fn both_sides_introduce_themselves() {
    let mut host = Host::connect().await;
    let hello = |generation| HelloRequest {
        generation,
        unix_time_nanos: 1,
        ..HelloRequest::default()
    };
    let answer = soon(host.client.hello(hello(9)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.generation, GUEST_GENERATION);
    assert_eq!(answer.version, env!("CARGO_PKG_VERSION"));
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(answer.boot_id, boot_id.trim());
    assert!(0 < answer.ready_after_nanos);
    let refusal = soon(host.client.hello(hello(0))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
}
