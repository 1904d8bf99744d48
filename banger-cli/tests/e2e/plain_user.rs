//! A user without any privilege: no root, no sudo, no group, no KVM.
//!
//! The program, the guest program, the kernel and the image are copied to where
//! that user may read them; everything else is the user's own.

use std::{
    fs,
    io::Read as _,
    net::TcpStream,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    process::{Command, Output, Stdio},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    building::tool,
    environment::{Environment, entries, eventually, tree},
    registry::Registry,
};

/// Nobody's (Debian's `nobody` and `nogroup`).
const USER: u32 = 65_534;
/// How long a server may take to say something.
const ANSWER: Duration = Duration::from_secs(5);

/// The user's directory and what was copied for the user.
struct PlainUser {
    environment: Environment,
    parts: Utf8PathBuf,
}

impl PlainUser {
    fn new() -> Self {
        let environment = Environment::empty();
        let user = Self {
            parts: environment.root.join("parts"),
            environment,
        };
        fs::create_dir(&user.parts).unwrap();
        let testbed = &user.environment.testbed;
        user.copy(Utf8Path::new(env!("CARGO_BIN_EXE_banger")), "banger");
        user.copy(&guest_program(&user.environment), "banger-guest");
        user.copy(&testbed.join("kernel/kernel.deb"), "kernel.deb");
        for directory in ["home", "state", "cache", "config", "run"] {
            let path = user.environment.root.join(directory);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&path, Some(USER), Some(USER)).unwrap();
        }
        let traversable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&user.environment.root, traversable).unwrap();
        user
    }

    fn copy(&self, from: &Utf8Path, name: &str) {
        let to = self.parts.join(name);
        tool("cp", &["--reflink=auto", from.as_str(), to.as_str()]);
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn home(&self, directory: &str) -> Utf8PathBuf {
        self.environment.root.join(directory)
    }

    /// The program as the user runs it; nothing it starts can gain a privilege.
    fn command(&self, arguments: &[&str]) -> Command {
        let id = USER.to_string();
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"])
            .args(["timeout", "--kill-after=5", "240"])
            .arg(self.parts.join("banger"))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home("home"))
            .env("XDG_STATE_HOME", self.home("state"))
            .env("XDG_CACHE_HOME", self.home("cache"))
            .env("XDG_CONFIG_HOME", self.home("config"))
            .env("XDG_RUNTIME_DIR", self.home("run"))
            .env("BANGER_GUEST_PROGRAM", self.parts.join("banger-guest"))
            .current_dir(self.home("home"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "banger {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The host's side of the VM's one published port.
    fn port(&self, vm: &str) -> u16 {
        let ports = self.must(&["--json", "vm", "ports", vm]);
        let ports: serde_json::Value = serde_json::from_str(&ports).unwrap();
        let [port] = ports.as_array().unwrap().as_slice() else {
            panic!("one port: {ports}");
        };
        assert_eq!(port["address"], "127.0.0.1");
        port["host_port"].as_u64().unwrap().try_into().unwrap()
    }

    /// Nothing of VMs is left, and nothing was made that is not the user's.
    fn assert_nothing_left(&self) {
        assert_eq!(self.must(&["--json", "vm", "list"]), "[]\n");
        assert_eq!(entries(&self.home("state").join("banger/vms")), [""; 0]);
        assert_eq!(entries(&self.home("run").join("banger")), [""; 0]);
        eventually("no process is left", || {
            self.environment.processes().is_empty() && processes_of_user().is_empty()
        });
        for directory in ["home", "state", "cache", "config", "run"] {
            let files = tree(&self.home(directory));
            for path in files {
                let owner = fs::symlink_metadata(&path).unwrap().uid();
                assert_eq!(owner, USER, "{path}");
            }
        }
    }
}

fn guest_program(environment: &Environment) -> Utf8PathBuf {
    let command = environment.command(&[]);
    let program = command
        .get_envs()
        .find(|(name, _)| *name == "BANGER_GUEST_PROGRAM");
    let program = program.and_then(|(_, value)| value?.to_str()).unwrap();
    program.into()
}

/// Ids of the user's processes that run banger's programs.
fn processes_of_user() -> Vec<String> {
    let is_ours = |name: &str| {
        let directory = Utf8Path::new("/proc").join(name);
        let owner = fs::metadata(&directory).map(|metadata| metadata.uid());
        let line = fs::read_to_string(directory.join("cmdline")).unwrap_or_default();
        owner.is_ok_and(|owner| owner == USER) && (line.contains("banger") || line.contains("qemu"))
    };
    entries(Utf8Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_ours(name))
        .collect()
}

fn said_behind(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_plain_user_pulls_runs_reaches_stops_and_deletes() {
    let registry = Registry::start();
    let user = PlainUser::new();
    let reference = registry.push(&user.environment.layout("busybox", "latest"), "small:1");
    let package = format!("deb:{}", user.parts.join("kernel.deb"));
    user.must(&["kernel", "import", &package, "--name", "linux"]);
    user.must(&["image", "pull", &reference, "--name", "small"]);

    let run = "vm run -d --boot agent --name web -p 80 small";
    user.must(&run.split(' ').collect::<Vec<_>>());
    let seen = user.must(&[
        "vm",
        "exec",
        "web",
        "--",
        "sh",
        "-c",
        "id -u; cat /etc/resolv.conf",
    ]);
    assert_eq!(seen, "0\nnameserver 10.0.2.3\n");
    let (there, back) = (
        user.home("home").join("there"),
        user.home("home").join("back"),
    );
    fs::write(&there, "copied\n").unwrap();
    chown(&there, Some(USER), Some(USER)).unwrap();
    user.must(&["vm", "cp", there.as_str(), "web:/tmp/file"]);
    user.must(&["vm", "cp", "web:/tmp/file", back.as_str()]);
    assert_eq!(fs::read_to_string(&back).unwrap(), "copied\n");
    let serve = "busybox setsid busybox nc -ll -p 80 -e echo from the guest >/dev/null 2>&1 &";
    user.must(&["vm", "exec", "web", "--", "sh", "-c", serve]);
    let port = user.port("web");
    eventually("the published port answers", || {
        said_behind(port).as_deref() == Some("from the guest\n")
    });
    // to another of the user's machines, through the host's loopback interface
    let fetch = format!("busybox nc 10.0.2.2 {port} </dev/null; exit 7");
    let output = user.run(&["vm", "run", "--rm", "small", "--", "sh", "-c", &fetch]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from the guest\n");

    let shown = user.must(&["--json", "vm", "show", "web"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["network"], &shown["bound_ports"][0]["host_port"]),
        (&"user".into(), &port.into())
    );
    user.must(&["vm", "stop", "web"]);
    assert_eq!(user.must(&["vm", "ports", "web"]), "");
    user.must(&["vm", "delete", "web"]);
    user.assert_nothing_left();
    user.must(&["image", "delete", "small"]);
    user.must(&["kernel", "delete", "linux"]);
    assert_eq!(entries(&user.home("state").join("banger/images")), [""; 0]);
}

/// As root of the host everything may be asked for; here low ports are not.
#[test]
fn what_a_plain_user_may_not_publish_is_told() {
    let limit = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let user = PlainUser::new();
    let reference = user.environment.layout("busybox", "latest");
    user.copy_tree(&reference);
    let package = format!("deb:{}", user.parts.join("kernel.deb"));
    user.must(&["kernel", "import", &package, "--name", "linux"]);
    let copied = format!("oci:{}:latest", user.parts.join("busybox"));
    user.must(&["image", "pull", &copied, "--name", "small"]);
    let allowed = limit.trim() == "0";
    let output = user.run(&["vm", "run", "--rm", "-p", "9:9", "small", "--", "true"]);
    let said = String::from_utf8_lossy(&output.stderr);
    if allowed {
        assert_eq!(output.status.code(), Some(0), "{said}");
    } else {
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.contains("127.0.0.1:9/tcp of this host"), "{said}");
        assert!(said.contains("hint: low ports are for root"), "{said}");
    }
    user.assert_nothing_left();
}

impl PlainUser {
    /// Copies a layout of the test bed.
    fn copy_tree(&self, reference: &str) {
        let layout = reference
            .strip_prefix("oci:")
            .and_then(|rest| rest.rsplit_once(':'))
            .map(|(layout, _)| layout)
            .unwrap();
        tool("cp", &["--recursive", layout, self.parts.as_str()]);
        tool("chmod", &["--recursive", "a+rX", self.parts.as_str()]);
    }
}
