//! Signing in to a real registry, in all the ways of the command line.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use super::{environment::Environment, registry::Registry};

/// "ann:s3cret".
const AUTH: &str = "YW5uOnMzY3JldA==";
/// What the exit status of a refused sign-in is.
const NOT_PERMITTED: i32 = 5;

struct World {
    environment: Environment,
    registry: Registry,
    reference: String,
    builds: std::cell::Cell<u32>,
}

impl World {
    fn new() -> Self {
        let registry = Registry::with_password();
        let environment = Environment::empty();
        let layout = environment.layout("busybox", "latest");
        let credentials = ["--dest-creds", "ann:s3cret"];
        let reference = registry.push_as(&layout, "team/busybox:latest", &credentials);
        Self {
            environment,
            registry,
            reference,
            builds: std::cell::Cell::default(),
        }
    }

    /// `rootfs build`, which makes another disk each time.
    fn build(&self, options: &[&str]) -> Command {
        self.builds.set(self.builds.get() + 1);
        let disk = self
            .environment
            .root
            .join(format!("{}.ext4", self.builds.get()));
        let line = ["rootfs", "build", &self.reference, "-o", disk.as_str()];
        self.environment.command(&[&line, options].concat())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.environment.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.into_string()
    }

    fn auths(&self) -> String {
        format!(
            r#"{{"auths":{{"{}":{{"auth":"{AUTH}"}}}}}}"#,
            self.registry.host
        )
    }
}

fn with_input(mut command: Command, input: &str) -> Output {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn must(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn strangers_are_told_how_to_sign_in() {
    let world = World::new();
    let refused = world.build(&[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(NOT_PERMITTED), "{refused:?}");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        text.contains("team/busybox") && text.contains("docker login"),
        "{text}"
    );
}

#[test]
fn a_password_comes_by_standard_input() {
    let world = World::new();
    let options = ["--username", "ann", "--password-stdin"];
    must(&with_input(world.build(&options), "s3cret\n"));
    let refused = with_input(world.build(&options), "wr0ng\n");
    assert_eq!(refused.status.code(), Some(NOT_PERMITTED), "{refused:?}");
    assert!(!format!("{refused:?}").contains("wr0ng"), "{refused:?}");
    for input in ["", "\n"] {
        let refused = with_input(world.build(&options), input);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}

#[test]
fn files_of_docker_and_podman_are_found_where_those_keep_them() {
    let world = World::new();
    let file = world.write("elsewhere/auth.json", &world.auths());
    must(&world.build(&["--authfile", &file]).output().unwrap());
    must(
        &world
            .build(&[])
            .env("REGISTRY_AUTH_FILE", &file)
            .output()
            .unwrap(),
    );
    let root = &world.environment.root;
    for (name, variable, value) in [
        ("docker/config.json", "DOCKER_CONFIG", "docker"),
        (
            "run-user/containers/auth.json",
            "XDG_RUNTIME_DIR",
            "run-user",
        ),
        (".config/containers/auth.json", "UNUSED", ""),
        (".docker/config.json", "UNUSED", ""),
    ] {
        let file = world.write(name, &world.auths());
        let mut command = world.build(&[]);
        must(&command.env(variable, root.join(value)).output().unwrap());
        fs::remove_file(file).unwrap();
    }
    let missing = world.build(&["--authfile", "/missing"]).output().unwrap();
    assert!(!missing.status.success(), "{missing:?}");
}

#[test]
fn a_helper_is_asked() {
    let world = World::new();
    let script = "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"ann\",\"Secret\":\"s3cret\"}'\n";
    let helper = world.write("bin/docker-credential-test", script);
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let bin = world.environment.root.join("bin");
    let path = format!("{bin}:/usr/bin:/bin");
    let config = world.write(
        "banger.toml",
        &format!(
            "[registries.host.\"{}\"]\ncredential-helper = \"test\"\n",
            world.registry.host
        ),
    );
    let configured = world
        .build(&["--config", &config])
        .env("PATH", &path)
        .output();
    must(&configured.unwrap());
    world.write(".docker/config.json", r#"{"credsStore":"test"}"#);
    must(&world.build(&[]).env("PATH", &path).output().unwrap());
    let missing = world.build(&[]).output().unwrap();
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        text.contains("docker-credential-test") && text.contains("--authfile"),
        "{text}"
    );
}
