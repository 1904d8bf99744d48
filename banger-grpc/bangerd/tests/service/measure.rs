//! What `cargo xtask bench grpc` measures, in small: every figure is there.

use std::time::Duration;

use banger_api::v1::{CreateVmRequest, DeleteVmRequest, ImportKernelRequest, PullImageRequest};
use banger_bench::{Server, exec, lists, records, streams, unary};
use banger_client::Client;
use tokio::runtime::Builder;

use super::{daemon::Daemon, foreign::sources};

const BUDGET: Duration = Duration::from_mins(4);

fn run(work: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work);
}

fn server(daemon: &Daemon) -> Server {
    Server {
        socket: daemon.socket(),
        state: daemon.root.join("state"),
    }
}

#[test]
fn calls_lists_and_streams_are_measured() {
    let daemon = Daemon::start();
    let (server, process) = (server(&daemon), daemon.pid().parse().unwrap());
    run(async {
        server.ready().await.unwrap();
        records::make(&server, 300).await.unwrap();
        let plan = unary::Plan {
            vm: "vms/vm-000007".to_owned(),
            calls: 20,
            callers: 2,
        };
        let samples = unary::measure(&server, &plan).await.unwrap();
        for method in ["health", "server-info", "vm"] {
            let count = |how| samples.of(&format!("{method}/{how}")).len();
            assert_eq!(["alone", "together", "rate"].map(count), [20, 20, 10]);
        }
        let samples = lists::measure(&server, 2).await.unwrap();
        for (page, count) in [
            ("all/first", 2),
            ("all/between", 2),
            ("all/last", 2),
            ("half/first", 2),
            ("half/last", 2),
            ("few/only", 2),
        ] {
            assert_eq!(samples.of(page).len(), count, "{page}");
            assert_eq!(samples.of(&format!("{page}/store")).len(), count, "{page}");
        }
        let plan = streams::Plan {
            process,
            resumed: 130,
            told_all: 3,
            idle: Duration::from_millis(300),
        };
        let samples = streams::measure(&server, &plan).await.unwrap();
        for watchers in ["resumed", "told-all"] {
            for figure in ["none", "idle", "closed", "cpu"] {
                assert_eq!(samples.of(&format!("{watchers}/{figure}")).len(), 1);
            }
        }
    });
}

#[test]
fn streams_of_commands_are_measured() {
    let daemon = Daemon::start();
    let server = server(&daemon);
    run(async {
        server.ready().await.unwrap();
        let client = Client::connect(&server.socket, BUDGET).unwrap();
        start_machine(&client).await;
        let plan = exec::Plan {
            vm: "vms/measured".to_owned(),
            mebibytes: 1,
        };
        let samples = exec::measure(&server, &plan).await.unwrap();
        for way in ["in", "out"] {
            assert!(0.0 < samples.of(way)[0], "{way}");
        }
        let delete = DeleteVmRequest {
            name: plan.vm,
            force: true,
            ..DeleteVmRequest::default()
        };
        client.change(delete).await.unwrap();
    });
}

async fn start_machine(client: &Client) {
    let (package, reference) = sources();
    let import = ImportKernelRequest {
        source: package,
        kernel_id: "linux".to_owned(),
        ..ImportKernelRequest::default()
    };
    client.change(import).await.unwrap();
    let pull = PullImageRequest {
        reference,
        image_id: "small".to_owned(),
        kernel: "kernels/linux".to_owned(),
        ..PullImageRequest::default()
    };
    client.change(pull).await.unwrap();
    let create = CreateVmRequest {
        image: "images/small".to_owned(),
        vm_id: "measured".to_owned(),
        start: true,
        ..CreateVmRequest::default()
    };
    client.change(create).await.unwrap();
}
