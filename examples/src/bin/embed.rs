//! Pulls an image from an OCI layout and runs a command in a machine of it.
//!
//! ```console
//! $ embed STATE-DIRECTORY GUEST-PROGRAM KERNEL-PACKAGE oci:DIRECTORY:TAG COMMAND…
//! ```
//!
//! The program is its own monitor: it starts itself again for each machine.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::{error::Error, process::ExitCode, time::Duration};

use banger_core::{
    directories::Directories,
    domain::{Bytes, Selector},
    image::PullRequest,
    kernel::{KernelSelection, KernelSource},
    local::{Local, LocalOptions},
    oci::SourceOptions,
    progress::NoProgress,
    vm::{
        CreateVm, ExecEvent, ExecRequest, Lifetime, MonitorProgram,
        monitor::{self, MonitorArguments},
    },
    vmm::VmmPrograms,
};
use camino::{Utf8Path, Utf8PathBuf};

const MONITOR: &str = "__monitor";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, rest @ ..] = arguments.as_slice()
        && verb == MONITOR
    {
        return be_monitor(rest);
    }
    let run = || tokio::runtime::Runtime::new()?.block_on(embed(&arguments));
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("embed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a machine's own process does.
fn be_monitor(arguments: &[String]) -> ExitCode {
    MonitorArguments::parse(arguments.to_vec())
        .map_or(ExitCode::FAILURE, |arguments| monitor::run(&arguments))
}

async fn embed(arguments: &[String]) -> Result<u8, Box<dyn Error>> {
    let [state, guest, package, reference, command @ ..] = arguments else {
        return Err("usage: embed STATE GUEST-PROGRAM KERNEL-PACKAGE oci:DIR:TAG COMMAND…".into());
    };
    let local = Local::open(options(Utf8Path::new(state), guest)?).await?;
    let kernel = local
        .kernels
        .import(&KernelSource::DebFile(package.into()), None, &NoProgress)
        .await?;
    let request = PullRequest {
        reference: reference.parse()?,
        name: None,
        kernel: KernelSelection {
            name: Some(kernel.name),
            ..KernelSelection::default()
        },
        size: None,
    };
    let image = local.images.pull(request, &NoProgress).await?;
    println!("pulled {} as {}", reference, image.name);
    run(&local, image.name.as_str(), command).await
}

async fn run(local: &Local, image: &str, command: &[String]) -> Result<u8, Box<dyn Error>> {
    let vm = local.vms.create(machine(image), &NoProgress).await?;
    let vm = Selector::from(vm.name.as_str());
    let started = local
        .vms
        .start(&vm, Lifetime::BoundToCaller, &NoProgress)
        .await?;
    println!("{} runs: {}", started.vm.name, started.vm.reason);
    let request = ExecRequest {
        argv: command.to_vec(),
        ..ExecRequest::default()
    };
    let mut session = local.vms.exec(&vm, request).await?;
    let mut status = 1;
    while let Some(event) = session.events.recv().await {
        match event? {
            ExecEvent::Stdout(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
            ExecEvent::Stderr(bytes) => eprint!("{}", String::from_utf8_lossy(&bytes)),
            ExecEvent::Exit(exit) => status = exit.shell_status(),
        }
    }
    local.vms.stop(&vm, Duration::from_secs(5)).await?;
    Ok(status)
}

fn machine(image: &str) -> CreateVm {
    CreateVm {
        image: Selector::from(image),
        name: None,
        vcpus: 1,
        memory: Bytes::from_mib(512),
        disk_size: Bytes::from_mib(1024),
        backend: None,
        remove_on_stop: true,
        labels: std::collections::BTreeMap::new(),
    }
}

fn options(state: &Utf8Path, guest: &str) -> Result<LocalOptions, Box<dyn Error>> {
    let directories = Directories {
        state: state.join("state"),
        cache: state.join("cache"),
        runtime: state.join("run"),
    };
    let program = Utf8PathBuf::try_from(std::env::current_exe()?)?;
    Ok(LocalOptions {
        guest_program: guest.into(),
        monitor: MonitorProgram {
            program,
            arguments: vec![MONITOR.to_owned()],
        },
        vmm: VmmPrograms {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
        },
        sources: SourceOptions::new(directories.clone()),
        directories,
    })
}
