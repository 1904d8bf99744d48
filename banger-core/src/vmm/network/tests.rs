//! Namespaces and their helper for real: a program stands for the VMM and its
//! guest, as root and as a user without any privilege.

use std::{fs, io, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use banger_proto::rtnetlink::{default_route, new_address};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    HelperRequest, NetworkError, NetworkHelper,
    namespace::{BRIDGE_INDEX, Enclosure, enclose_in, plan},
    plan::{GATEWAY, GUEST, PREFIX},
    reserve,
};
use crate::{
    ErrorKind,
    domain::PublishedPort,
    process::{command, run},
    sys::namespace::NetworkNamespace,
};

const PATIENCE: Duration = Duration::from_secs(30);
const HELPER: &str = "/usr/bin/slirp4netns";
/// Nobody's (Debian's `nobody` and `nogroup`).
const USER: &str = "65534";
/// Makes a device that everybody may open, as it is on a usual host, seen by
/// what follows alone, and goes on as a user without any privilege.
const AS_PLAIN_USER: &str = "mknod -m 666 \"$1/tun\" c 10 200 && \
    mount --bind \"$1/tun\" /dev/net/tun && exec setpriv --reuid \"$2\" --regid \"$2\" \
    --clear-groups --no-new-privs --bounding-set=-all \"$1/test\" --exact \"$3\" --nocapture";

/// Runs the test of this name once more, as a plain user. Answers whether this
/// process is root's, who comes first.
async fn as_plain_user_too(test: &str) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = scratch.path().join("test");
    crate::host_fs::copy_file(
        Utf8Path::new("/proc/self/exe"),
        Utf8Path::from_path(&program).unwrap(),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut again = command("unshare");
    again
        .args(["--mount", "sh", "-c", AS_PLAIN_USER, "sh"])
        .arg(scratch.path())
        .args([USER, test]);
    let output = String::from_utf8(run(again, 2 * PATIENCE).await.unwrap()).unwrap();
    assert!(output.contains("1 passed"), "{output}");
}

/// The plan, and an address for the bridge: who is in there is the guest.
fn with_guest() -> NetworkNamespace {
    let mut namespace = plan();
    let requests = [
        new_address(BRIDGE_INDEX, GUEST, PREFIX),
        default_route(BRIDGE_INDEX, GATEWAY),
    ];
    namespace.requests.extend(requests);
    namespace
}

/// A program in namespaces, and what it says.
struct Inmate {
    child: Child,
    output: ChildStdout,
}

fn imprison(script: &str) -> (io::Result<Child>, Enclosure) {
    let mut busybox: Command = command("busybox");
    busybox
        .args(["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let enclosure = enclose_in(&mut busybox, with_guest()).unwrap();
    (busybox.spawn(), enclosure)
}

impl Inmate {
    /// One that waits for a line before it runs the script.
    fn new(script: &str) -> Self {
        let (child, mut enclosure) = imprison(&format!("read line; {script}"));
        let mut child = child.unwrap_or_else(|error| panic!("{error}: {:?}", enclosure.failure()));
        let output = child.stdout.take().unwrap();
        Self { child, output }
    }

    async fn join(
        &self,
        directory: &Utf8Path,
        ports: &[PublishedPort],
    ) -> Result<NetworkHelper, NetworkError> {
        let request = HelperRequest {
            program: Some(Utf8Path::new(HELPER)),
            in_user_namespace: true,
            vmm: self.child.id().unwrap(),
            directory,
            ports,
        };
        NetworkHelper::join(&request).await
    }

    async fn begin(&mut self) {
        let mut input = self.child.stdin.take().unwrap();
        input.write_all(b"\n").await.unwrap();
    }

    async fn says(&mut self, expected: &str) {
        let mut said = vec![0; expected.len()];
        let reading = timeout(PATIENCE, self.output.read_exact(&mut said)).await;
        reading.unwrap().unwrap();
        assert_eq!(String::from_utf8(said).unwrap(), expected);
    }
}

fn scratch() -> (TempDir, Utf8PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
    (scratch, path)
}

/// What is behind a port of the host, once it says something.
async fn behind(port: u16) -> String {
    let asking = async {
        loop {
            let mut text = String::new();
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await
                && stream.read_to_string(&mut text).await.is_ok()
                && !text.is_empty()
            {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap()
}

async fn is_gone(process: u32) {
    let stat = format!("/proc/{process}/stat");
    let gone = async {
        // what nobody has waited for is gone as well
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_vmm_in_namespaces_reaches_and_is_reached() {
    let (_scratch, directory) = scratch();
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let number = outside.local_addr().unwrap().port();
    let reserved = reserve(&["8080".parse().unwrap()], &[]).unwrap();
    let script = format!(
        "busybox nc 10.0.2.2 {number} </dev/null; \
         busybox ls /sys/class/net >/dev/null; grep -c CapEff:.0000000000000000 /proc/self/status; \
         exec busybox nc -ll -p 8080 -e echo from inside"
    );
    let mut inmate = Inmate::new(&script);
    let helper = inmate.join(&directory, reserved.ports()).await.unwrap();
    inmate.begin().await;
    let (mut stream, _) = timeout(PATIENCE, outside.accept()).await.unwrap().unwrap();
    stream.write_all(b"from outside\n").await.unwrap();
    drop(stream);
    inmate.says("from outside\n").await;
    let is_root = rustix::process::geteuid().is_root();
    inmate.says(if is_root { "0\n" } else { "1\n" }).await;
    let port = reserved.ports()[0];
    assert_eq!(behind(port.host).await, "from inside\n");
    let neighbour = TcpStream::connect(("127.0.0.2", port.host)).await;
    neighbour.unwrap_err();
    let process = helper.id().unwrap();
    drop((helper, reserved));
    is_gone(process).await;
    TcpListener::bind(("127.0.0.1", port.host)).await.unwrap();
    inmate.child.kill().await.unwrap();
    as_plain_user_too("vmm::network::tests::a_vmm_in_namespaces_reaches_and_is_reached").await;
}

#[tokio::test]
async fn a_port_that_the_helper_cannot_bind_is_named() {
    let (_scratch, directory) = scratch();
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let number = taken.local_addr().unwrap().port();
    let port: PublishedPort = format!("{number}:80/udp").parse().unwrap();
    let inmate = Inmate::new("true");
    let refused = inmate.join(&directory, &[port]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(
        refused
            .to_string()
            .contains(&format!("127.0.0.1:{number}/udp")),
        "{refused}"
    );
    let mut request = HelperRequest {
        program: None,
        in_user_namespace: true,
        vmm: 1,
        directory: &directory,
        ports: &[],
    };
    let missing = NetworkHelper::join(&request).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Unsupported);
    request.program = Some(Utf8Path::new("/bin/false"));
    let died = NetworkHelper::join(&request).await.unwrap_err();
    assert!(died.to_string().contains("exit status: 1"), "{died}");
}

/// The thread that started it is what a monitor is.
#[tokio::test]
async fn a_helper_dies_with_its_monitor() {
    let (_scratch, directory) = scratch();
    let inmate = Inmate::new("sleep 600");
    let vmm = inmate.child.id().unwrap();
    let monitor = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let request = HelperRequest {
            program: Some(Utf8Path::new(HELPER)),
            in_user_namespace: true,
            vmm,
            directory: &directory,
            ports: &[],
        };
        let helper = runtime.block_on(NetworkHelper::join(&request)).unwrap();
        let process = helper.id().unwrap();
        // killed, a monitor drops nothing
        std::mem::forget(helper);
        process
    });
    is_gone(monitor.join().unwrap()).await;
}

/// A user namespace whose own may be no more (namespaces(7)).
#[tokio::test]
async fn a_host_without_namespaces_is_told_so() {
    const TEST: &str = "vmm::network::tests::a_host_without_namespaces_is_told_so";
    const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
    if fs::read_to_string(LIMIT).unwrap().trim() == "0" {
        let (child, mut enclosure) = imprison("true");
        child.unwrap_err();
        let failure = enclosure.failure().unwrap();
        assert_eq!(failure.kind(), ErrorKind::Unsupported);
        assert!(
            matches!(failure, NetworkError::Namespaces { .. }),
            "{failure:?}"
        );
        return;
    }
    let script = format!("echo 0 >{LIMIT} && exec \"$1\" --exact {TEST}");
    let mut again = command("unshare");
    again
        .args(["--user", "--map-root-user", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap());
    let output = String::from_utf8(run(again, PATIENCE).await.unwrap()).unwrap();
    assert!(output.contains("1 passed"), "{output}");
}
