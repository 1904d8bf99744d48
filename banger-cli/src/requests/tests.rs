//! Tasks from command lines.

use std::ffi::OsString;

use banger_core::{
    domain::{BootMode, Bytes, RootDiskMode},
    image::build::Source,
    kernel::KernelPaths,
    vm::RequestedSource,
};

use super::*;
use crate::args::{self, Parsed};

fn prepare(line: &str) -> Result<Task, CliError> {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    match args::parse(&words).unwrap() {
        Parsed::Run(cli) => Task::prepare(cli.command, Utf8Path::new("/here")),
        Parsed::Text(text) => panic!("{text}"),
    }
}

fn run(line: &str) -> RunRequest {
    match prepare(line).unwrap() {
        Task::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_become_absolute() {
    let Task::Plain(PlainTask::PullImage(pull)) = prepare(
        "banger image pull oci:./dir:tag --kernel-path k --initrd-path ../i --modules-path /m",
    )
    .unwrap() else {
        panic!("not a pull");
    };
    let expected = KernelPaths {
        kernel: Some("/here/k".into()),
        initrd: Some("/here/../i".into()),
        modules: Some("/m".into()),
    };
    assert_eq!(pull.kernel.paths, expected);
    assert_eq!(pull.reference.to_string(), "oci:/here/dir:tag");
    let import = |source: &str| prepare(&format!("banger kernel import {source}")).unwrap();
    assert_eq!(
        import("dir:k"),
        Task::Plain(PlainTask::ImportKernel(
            KernelSource::Directory("/here/k".into()),
            None
        ))
    );
    assert_eq!(
        import("deb:/k"),
        Task::Plain(PlainTask::ImportKernel(
            KernelSource::DebFile("/k".into()),
            None
        ))
    );
    assert_eq!(
        import("vmlinux"),
        Task::Plain(PlainTask::ImportKernel(
            KernelSource::File("/here/vmlinux".into()),
            None
        ))
    );
    assert_eq!(
        import("apt:linux"),
        Task::Plain(PlainTask::ImportKernel(
            KernelSource::AptPackage("linux".into()),
            None
        ))
    );
}

#[test]
fn archives_become_absolute_and_standard_input_stays() {
    for (given, absolute) in [
        ("oci-archive:./a.tar:t", "oci-archive:/here/a.tar:t"),
        (
            "docker-archive:a.tar:x:1",
            "docker-archive:/here/a.tar:docker.io/library/x:1",
        ),
        ("docker-archive:/a.tar:@0", "docker-archive:/a.tar:@0"),
        ("rootfs-tar:../a.tar", "rootfs-tar:/here/../a.tar"),
        ("rootfs-tar:./-", "rootfs-tar:/here/-"),
        ("rootfs-tar:-", "rootfs-tar:-"),
    ] {
        let reference = image::reference(given, Utf8Path::new("/here")).unwrap();
        assert_eq!(reference.to_string(), absolute);
    }
    let below = Utf8Path::new("/he:re");
    assert!(image::reference("oci-archive:/a.tar", below).is_ok());
    assert!(image::reference("rootfs-tar:a.tar", below).is_ok());
    let refused = image::reference("oci-archive:a.tar", below).unwrap_err();
    assert!(refused.to_string().contains("colon"), "{refused}");
    let unnamed = prepare("banger image pull rootfs-tar:-").unwrap_err();
    assert!(matches!(unnamed, CliError::Usage { .. }), "{unnamed:?}");
}

#[test]
fn names_ids_and_references_are_told_apart() {
    for text in [
        "debian-bookworm",
        "6f9d",
        "0192f0c1-2345-7abc-8def-0123456789ab",
    ] {
        assert_eq!(
            run(&format!("banger vm run {text}")).target,
            Target::Existing(Selector::from(text))
        );
    }
    for text in [
        "docker.io/library/debian:bookworm",
        "localhost:5000/x",
        "oci:dir",
        "oci-archive:a.tar",
        "docker-archive:a.tar:debian:12",
        "rootfs-tar:a.tar",
    ] {
        assert!(
            matches!(
                run(&format!("banger vm run {text}")).target,
                Target::Reference(_)
            ),
            "{text}"
        );
    }
    for text in ["UPPER", "a//b", "docker.io/x:bad:tag", "oci:"] {
        let error = prepare(&format!("banger vm run {text}")).unwrap_err();
        assert!(matches!(error, CliError::Reference(_)), "{text}: {error:?}");
    }
}

#[test]
fn a_run_is_made_of_its_options() {
    let run = run(
        "banger vm run --rm --name v --cpus 2 --memory 1G --disk 20M --label a=b --size 2G \
        --user u:g --workdir /w -i img -- a b",
    );
    assert_eq!(run.create.name.unwrap().as_str(), "v");
    assert_eq!(
        (run.create.vcpus, run.create.memory),
        (2, Bytes::new(Bytes::GIB))
    );
    assert_eq!(run.create.disk_size, Bytes::from_mib(20));
    assert_eq!(run.create.labels.get("a").map(String::as_str), Some("b"));
    assert!(run.create.remove_on_stop);
    assert_eq!(run.pull.size, Some(Bytes::new(2 * Bytes::GIB)));
    let process = run.process.unwrap();
    assert_eq!(process.exec.argv, ["a", "b"]);
    assert_eq!(process.exec.user.as_deref(), Some("u:g"));
    assert_eq!(process.exec.working_directory.as_deref(), Some("/w"));
    assert!(process.attachment.interactive && !process.attachment.terminal);
}

#[test]
fn a_detached_run_has_its_command_by_itself() {
    let attached = run("banger vm run i -- a");
    assert_eq!(attached.create.boot_mode, BootMode::Agent);
    assert!(attached.create.process.argv.is_empty());
    let detached = run("banger vm run -d --env A=B --user u -w /w i -- a b");
    assert_eq!(detached.process, None);
    assert_eq!(detached.create.boot_mode, BootMode::Entrypoint);
    let own = detached.create.process;
    assert_eq!(
        (own.argv, own.env),
        (strings(&["a", "b"]), strings(&["A=B"]))
    );
    assert_eq!(own.user.as_deref(), Some("u"));
    assert_eq!(own.working_directory.as_deref(), Some("/w"));
    let native = run("banger vm run -d --boot native i");
    assert_eq!(native.create.root_disk, RootDiskMode::Clone);
    assert_eq!(
        run("banger vm run -d --boot init i -- /i")
            .create
            .process
            .argv,
        ["/i"]
    );
    for (line, words) in [
        ("vm run --boot entrypoint i", "needs --detach"),
        ("vm run --boot native i", "needs --detach"),
        ("vm run -d --boot agent i -- a", "a command cannot be used"),
        ("vm run -d --boot init --user u i", "--user cannot be used"),
        ("vm create --workdir /w i", "--user cannot be used"),
        ("vm create i -- a", "a command cannot be used"),
    ] {
        let refused = prepare(&format!("banger {line}")).unwrap_err();
        assert!(refused.to_string().contains(words), "{line}: {refused}");
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn volumes_are_names_or_paths() {
    let created = prepare(
        "banger vm create i --root-disk clone -v data:/srv:ro -v ./c.ext4:/c:ro \
        -v .:/d:rw",
    );
    let Task::Plain(PlainTask::CreateVm(request)) = created.unwrap() else {
        panic!("not a create");
    };
    assert_eq!(request.root_disk, RootDiskMode::Clone);
    let path = |path: &str| RequestedSource::Path(path.into());
    let expected = [
        (
            RequestedSource::Named("data".parse().unwrap()),
            "/srv",
            true,
        ),
        (path("/here/./c.ext4"), "/c", true),
        (path("/here/."), "/d", false),
    ];
    let found: Vec<_> = request
        .volumes
        .iter()
        .map(|volume| {
            (
                volume.source.clone(),
                volume.target.as_str(),
                volume.read_only,
            )
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn tasks_say_what_they_need() {
    let cases = [
        ("banger vm run i", Surface::Guest, true, false),
        ("banger vm run -d i", Surface::Guest, true, false),
        ("banger vm run -t i", Surface::Guest, true, true),
        ("banger vm exec -t v -- c", Surface::Guest, false, true),
        ("banger vm shell v", Surface::Guest, false, true),
        ("banger vm exec -d v -- c", Surface::Guest, false, false),
        ("banger vm attach v c", Surface::Guest, false, false),
        ("banger vm execs v", Surface::Own, false, false),
        ("banger vm start v", Surface::Own, true, false),
        ("banger vm list", Surface::Own, false, false),
    ];
    for (line, surface, boots, terminal) in cases {
        let task = prepare(line).unwrap();
        assert_eq!(task.surface(), surface, "{line}");
        assert_eq!(task.boots(), boots, "{line}");
        assert_eq!(task.needs_terminal(), terminal, "{line}");
    }
    assert!(super::is_chosen(&KernelSelection {
        name: "k".parse().ok(),
        ..KernelSelection::default()
    }));
    assert!(!super::is_chosen(&KernelSelection::default()));
}

fn build(line: &str) -> PlainTask {
    match prepare(line).unwrap() {
        Task::Plain(task) => task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_build_from_an_image_is_made_of_its_options() {
    let PlainTask::BuildFromImage(request) = build(
        "banger image build --from-image b -n new --copy a:b:/etc/x --copy c:/d/ --script s \
        --run true --run false --no-mise --no-modules --size 3G --timeout 60 --cpus 4 --memory 2G",
    ) else {
        panic!("not a build from an image");
    };
    let Source::Host(provision) = &request.source else {
        panic!("the files of a command line are this host's");
    };
    let copies: Vec<(&str, &str)> = provision
        .copies
        .iter()
        .map(|copy| (copy.source.as_str(), copy.destination.as_str()))
        .collect();
    assert_eq!(copies, [("/here/a:b", "/etc/x"), ("/here/c", "/d/")]);
    assert_eq!(provision.scripts, ["/here/s"]);
    assert_eq!(provision.commands, ["true", "false"]);
    assert!(provision.parts.base_packages && provision.parts.opencode);
    assert!(!provision.parts.mise && !provision.parts.modules);
    assert_eq!((request.machine.vcpus, request.deadline.as_secs()), (4, 60));
    assert_eq!(request.size, Some(Bytes::new(3 * Bytes::GIB)));
    let bare = build("banger image build --from-image b -n new --bare");
    let PlainTask::BuildFromImage(bare) = bare else {
        panic!("not a build from an image");
    };
    assert_eq!(
        bare.source.parts(),
        banger_core::image::ProvisionParts::NONE
    );
    assert!(Task::Plain(PlainTask::BuildFromImage(bare)).boots());
}

#[test]
fn a_containerfiles_context_is_its_directory_unless_given() {
    for (line, file, context) in [
        (
            "-f sub/Containerfile",
            Some("/here/sub/Containerfile"),
            "/here/sub",
        ),
        (
            "-f sub/Containerfile .",
            Some("/here/sub/Containerfile"),
            "/here/.",
        ),
        ("/context", None, "/context"),
    ] {
        let task = build(&format!("banger image build --name new {line}"));
        let PlainTask::BuildContainerfile(request) = task else {
            panic!("not a build of a Containerfile");
        };
        let given = request.containerfile.as_ref().map(|path| path.as_str());
        assert_eq!((given, request.context.as_str()), (file, context), "{line}");
    }
}
