//! The command line's form.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn refused(line: &str) -> (String, String) {
    match parse(&words(line)) {
        Err(CliError::Usage { message, hint }) => (message, hint.unwrap_or_default()),
        other => panic!("{line}: {other:?}"),
    }
}

fn accepted(line: &str) -> Command {
    match parse(&words(line)) {
        Ok(Parsed::Run(cli)) => cli.command,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn everything_has_help() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no help");
        for argument in command.get_arguments() {
            let id = argument.get_id();
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(!help.is_empty(), "{path} {id} has no help");
            assert!(!help.ends_with('.'), "{path} {id}: {help}");
        }
        for inner in command.get_subcommands() {
            check(inner, &path);
        }
    }
    check(&Cli::command(), "");
}

#[test]
fn bad_values_are_refused_on_one_line() {
    let cases = [
        (
            "banger vm create i --memory 0",
            "invalid value '0' for '--memory <SIZE>': size \"0\" is zero",
        ),
        (
            "banger vm create i --memory 63",
            "invalid value '63' for '--memory <SIZE>': 63.0 MiB is less than 64.0 MiB",
        ),
        (
            "banger vm create i --disk 1",
            "invalid value '1' for '--disk <SIZE>': 1.0 MiB is less than 16.0 MiB",
        ),
        (
            "banger vm create i --cpus 0",
            "invalid value '0' for '--cpus <N>': 0 is not in 1..=64",
        ),
        (
            "banger vm create i --label x",
            "invalid value 'x' for '--label <KEY=VALUE>': a label is KEY=VALUE",
        ),
        (
            "banger vm create i --label =x",
            "invalid value '=x' for '--label <KEY=VALUE>': a label's key is not empty and has no space",
        ),
        (
            "banger vm create i --backend xen",
            "invalid value 'xen' for '--backend <BACKEND>': the backends are: qemu, firecracker",
        ),
        (
            "banger vm create i --name A",
            "invalid value 'A' for '--name <NAME>': VM name \"A\" is not [a-z0-9][a-z0-9-]{0,62}",
        ),
        (
            "banger vm exec v --env X -- c",
            "invalid value 'X' for '--env <KEY=VALUE>': a variable is KEY=VALUE",
        ),
        (
            "banger vm exec v --workdir x -- c",
            "invalid value 'x' for '--workdir <DIR>': a working directory is an absolute path",
        ),
        (
            "banger vm exec v",
            "the following required arguments were not provided: <COMMAND>...",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(refused(line).0, expected, "{line}");
    }
}

#[test]
fn bad_values_of_images_are_refused_on_one_line() {
    let cases = [
        (
            "banger image pull r --size 0G",
            "invalid value '0G' for '--size <SIZE>': size \"0G\" is zero",
        ),
        (
            "banger image prune --older-than yesterday",
            "invalid value 'yesterday' for '--older-than <TIME>': an age is a number and a unit: 7d, 12h, 30m",
        ),
        (
            "banger image save i --format zip",
            "invalid value 'zip' for '--format <FORMAT>' [possible values: oci-archive, docker-archive, rootfs-tar]",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(refused(line).0, expected, "{line}");
    }
}

#[test]
fn options_that_exclude_or_need_others_are_refused() {
    for line in [
        "banger image pull r --kernel k --kernel-path /k",
        "banger image pull r --initrd-path /i",
        "banger image pull r --kernel k --modules-path /m",
        "banger vm run i --kernel k --kernel-path /k",
        // nothing to change, and a label without a key
        "banger vm set a",
        "banger vm prune --label =x",
        "banger vm run -d -t i",
        "banger vm run -d -i i",
        "banger vm create i -v data",
        "banger vm create i -v data:relative",
        "banger vm create i -v :/data",
        "banger vm create i -v Data:/data",
        "banger vm create i --root-disk shared",
        "banger vm create i --boot bios",
        "banger volume delete",
        "banger vm run i true",
        "banger image build --name n",
        "banger image build --from-image b",
        "banger image build --from-image b --name n .",
        "banger image build --from-image b --name n -f Containerfile",
        "banger image build --from-image b --name n --builder docker",
        "banger image build --from-image b --name n --kernel k",
        "banger image build --from-image b --name n --copy a:b",
        "banger image build --from-image b --name n --timeout 0",
        "banger image build . --name n --run true",
        "banger image build . --name n --bare",
        "banger image build . --name n --builder kaniko",
        "banger vm delete",
        "banger kernel import ftp:x",
        "banger",
    ] {
        let (message, hint) = refused(line);
        assert!(
            !message.is_empty() && !message.contains('\n'),
            "{line}: {message}"
        );
        assert!(!hint.is_empty(), "{line}");
    }
}

#[test]
fn commands_are_taken_word_by_word() {
    let Command::Vm(VmCommand::Run(run)) = accepted(
        "banger vm run -it --rm -e A=1 -e A=2 --label a=b=c docker.io/x -- sh -c --json -- x",
    ) else {
        panic!("not a run");
    };
    assert!(run.process.tty && run.process.interactive && run.machine.rm);
    assert_eq!(run.process.env, ["A=1", "A=2"]);
    assert_eq!(run.machine.labels, [("a".to_owned(), "b=c".to_owned())]);
    assert_eq!(run.command, ["sh", "-c", "--json", "--", "x"]);
    for line in [
        "banger images ls",
        "banger image rm a b",
        "banger vms ps",
        "banger kernel rm k",
    ] {
        accepted(line);
    }
}

#[test]
fn a_missing_command_is_said_with_the_usage() {
    for (line, usage) in [
        ("banger", "usage: banger [OPTIONS] <COMMAND>"),
        ("banger vm", "usage: banger vm [OPTIONS] <COMMAND>"),
    ] {
        let expected = ("no command was given".to_owned(), usage.to_owned());
        assert_eq!(refused(line), expected);
    }
}

#[test]
fn the_reference_document_is_up_to_date() {
    let document = include_str!("../../../docs/cli-reference.md");
    assert!(
        document == reference(),
        "write it anew: cargo run -p banger-cli --example reference > docs/cli-reference.md"
    );
}

#[test]
fn json_is_seen_only_before_the_guests_command() {
    assert!(wants_json(&words("banger vm list --json")));
    assert!(!wants_json(&words("banger vm exec v -- x --json")));
}

#[test]
fn help_and_version_are_texts() {
    for line in ["banger --help", "banger vm run --help", "banger --version"] {
        assert!(matches!(parse(&words(line)), Ok(Parsed::Text(_))), "{line}");
    }
}

#[test]
fn a_user_comes_with_a_password_that_is_no_argument() {
    for line in [
        "banger image pull r.example/a --username ann",
        "banger image pull r.example/a --password-stdin",
        "banger rootfs build r.example/a -o d --username= --password-stdin",
        "banger image pull r.example/a --username ann --password s3cret",
        "banger vm run r.example/a --username ann --password-stdin",
    ] {
        refused(line);
    }
    let mut pull = accepted("banger image pull r.example/a --username ann --password-stdin");
    assert_eq!(pull.take_registry().username.as_deref(), Some("ann"));
    let mut run = accepted("banger vm run r.example/a --authfile f");
    assert_eq!(run.take_registry().authfile.as_deref(), Some("f".into()));
}
