//! Each check on hosts that lack something, and on one that lacks nothing.

use std::time::{Duration, SystemTime};

use super::*;
use crate::{
    diagnostics::{DatabaseFacts, DirectoryFacts, GuestFacts, HelperFacts, PlaceFacts, ToolFacts},
    vmm::{HostFacts, JailFacts, JailMode, JailOptions, KvmFacts, VmmPrograms},
};

fn place(path: &str) -> PlaceFacts {
    PlaceFacts {
        path: path.into(),
        writable: Ok(()),
        free: Ok(1 << 40),
    }
}

/// A host on which nothing is missing.
fn good() -> Facts {
    let version = |text: &str| Some(Ok(text.to_owned()));
    Facts {
        programs: VmmPrograms {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
            firecracker: Some("/opt/firecracker".into()),
            slirp4netns: Some("/usr/bin/slirp4netns".into()),
            jail: JailOptions {
                program: Some("/opt/jailer".into()),
                ..JailOptions::default()
            },
        },
        host: Ok(HostFacts {
            qemu_is_executable: true,
            firecracker_is_executable: true,
            kvm: KvmFacts {
                device_problem: None,
                cpu_virtualizes: true,
            },
        }),
        jail: Some(Ok(JailFacts { obstacle: None })),
        qemu: version("QEMU emulator version 10.0.2"),
        firecracker: version("Firecracker v1.12.1"),
        helper: Some(HelperFacts {
            slirp4netns: version("slirp4netns version 1.2.1"),
            namespaces: Ok(()),
        }),
        guest: GuestFacts {
            path: "/lib/banger-guest".into(),
            generation: Ok(banger_proto::GUEST_GENERATION),
        },
        directories: DirectoryFacts {
            state: place("/state"),
            cache: place("/cache"),
            runtime: place("/run/b"),
            runtime_is_private: Ok(()),
            sockets: Ok(()),
            reflinks: Ok(true),
        },
        database: Ok(Some(DatabaseFacts {
            schema: 7,
            newest_known: 7,
            faults: Vec::new(),
        })),
        tools: ToolFacts {
            e2fsck: version("e2fsck"),
            resize2fs: version("resize2fs"),
            apt: version("apt 3.0"),
            container_builders: vec!["buildah".to_owned()],
        },
        open_files: Some(1 << 20),
        now: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000),
    }
}

/// How a check comes out on a host that differs from the good one.
fn changed(id: &str, change: impl FnOnce(&mut Facts)) -> Check {
    let mut facts = good();
    change(&mut facts);
    let mut checks = judge(&facts);
    let place = checks.iter().position(|check| check.id == id);
    checks.swap_remove(place.expect(id))
}

fn expect(check: &Check, status: CheckStatus, word: &str) {
    assert_eq!(check.status, status, "{check:?}");
    assert!(check.found.contains(word), "{check:?}");
    let needs_advice = matches!(status, CheckStatus::Warning | CheckStatus::Failed);
    assert_eq!(check.advice.is_some(), needs_advice, "{check:?}");
}

#[test]
fn a_good_host_has_nothing_to_be_told() {
    let checks = judge(&good());
    for check in &checks {
        assert_eq!(check.status, CheckStatus::Ok, "{check:?}");
        assert_eq!(check.advice, None);
    }
    let mut ids: Vec<&str> = checks.iter().map(|check| &*check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), checks.len());
}

#[test]
fn what_was_found_and_the_advice_are_one_line_each() {
    let mut facts = good();
    facts.programs = VmmPrograms::default();
    (facts.qemu, facts.firecracker) = (None, None);
    facts.database = Err("broken".to_owned());
    facts.tools.e2fsck = None;
    facts.open_files = Some(3);
    for check in judge(&facts) {
        let advice = check.advice.unwrap_or_default();
        for text in [&check.found, &advice] {
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
    }
}

#[test]
fn kvm_and_its_absence_are_told_as_the_choice_of_a_backend_tells_them() {
    let without = |problem: Option<&str>, cpu: bool| {
        let problem = problem.map(str::to_owned);
        move |facts: &mut Facts| {
            let kvm = &mut facts.host.as_mut().unwrap().kvm;
            (kvm.device_problem, kvm.cpu_virtualizes) = (problem, cpu);
        }
    };
    let denied = changed(
        "kvm",
        without(Some("Permission denied (os error 13)"), true),
    );
    expect(&denied, CheckStatus::Warning, "Permission denied");
    assert!(denied.advice.unwrap().contains("group kvm"));
    let missing = changed("kvm", without(Some("No such file"), true));
    expect(&missing, CheckStatus::Warning, "No such file");
    assert!(missing.advice.unwrap().contains("firmware"));
    expect(
        &changed("kvm", without(None, false)),
        CheckStatus::Warning,
        "vmx",
    );
    let chosen = changed("backend", without(None, false));
    expect(&chosen, CheckStatus::Ok, "qemu: software emulation");
    let chosen = changed("backend", |_| {});
    expect(
        &chosen,
        CheckStatus::Ok,
        "firecracker: KVM is usable, and it runs in a jail",
    );
}

#[test]
fn a_host_needs_something_that_runs_machines() {
    let nothing = |facts: &mut Facts| {
        (facts.programs.qemu, facts.qemu) = (None, None);
        (facts.programs.firecracker, facts.firecracker) = (None, None);
        (facts.jail, facts.helper) = (None, None);
    };
    expect(
        &changed("backend", nothing),
        CheckStatus::Failed,
        "qemu-system",
    );
    expect(&changed("qemu", nothing), CheckStatus::Failed, "not found");
    for id in ["firecracker", "jail", "slirp4netns", "namespaces"] {
        expect(&changed(id, nothing), CheckStatus::Skipped, "not found");
    }
    let alone = |facts: &mut Facts| (facts.programs.qemu, facts.qemu) = (None, None);
    expect(&changed("backend", alone), CheckStatus::Ok, "firecracker");
    expect(
        &changed("qemu", alone),
        CheckStatus::Warning,
        "only Firecracker",
    );
    let broken = changed("qemu", |facts| {
        facts.qemu = Some(Err("it hangs".to_owned()));
    });
    expect(&broken, CheckStatus::Failed, "it hangs");
}

#[test]
fn firecracker_must_be_new_enough() {
    for (said, status, word) in [
        ("Firecracker v1.13.0-dev", CheckStatus::Ok, "1.13"),
        (
            "Firecracker v1.9.0",
            CheckStatus::Failed,
            "1.12 is the oldest",
        ),
        ("something else", CheckStatus::Failed, "no version"),
    ] {
        let check = changed("firecracker", |facts| {
            facts.firecracker = Some(Ok(said.to_owned()));
        });
        expect(&check, status, word);
    }
    let silent = changed("firecracker", |facts| {
        facts.firecracker = Some(Err("there was no answer".to_owned()));
    });
    expect(&silent, CheckStatus::Failed, "no answer");
}

#[test]
fn a_jail_fails_only_where_it_was_asked_for() {
    let cases = [
        (JailMode::Auto, CheckStatus::Warning),
        (JailMode::Always, CheckStatus::Failed),
    ];
    for (mode, status) in cases {
        let refused = |facts: &mut Facts| {
            facts.programs.jail.mode = mode;
            facts.jail = Some(Ok(JailFacts {
                obstacle: Some("no luck".to_owned()),
            }));
        };
        expect(&changed("jail", refused), status, "no luck");
    }
    let always = |facts: &mut Facts| {
        facts.programs.jail.mode = JailMode::Always;
        facts.jail = Some(Ok(JailFacts {
            obstacle: Some("no luck".to_owned()),
        }));
    };
    expect(&changed("backend", always), CheckStatus::Failed, "no luck");
    let never = changed("jail", |facts| facts.programs.jail.mode = JailMode::Never);
    expect(&never, CheckStatus::Skipped, "configuration");
}

#[test]
fn without_a_helper_machines_with_a_network_are_qemus() {
    let without = |facts: &mut Facts| {
        facts.programs.slirp4netns = None;
        facts.helper.as_mut().unwrap().slirp4netns = None;
    };
    expect(
        &changed("slirp4netns", without),
        CheckStatus::Warning,
        "run in qemu",
    );
    let nor_qemu = |facts: &mut Facts| {
        without(facts);
        (facts.programs.qemu, facts.qemu) = (None, None);
    };
    expect(
        &changed("slirp4netns", nor_qemu),
        CheckStatus::Failed,
        "no machine",
    );
    let namespaces = changed("namespaces", |facts| {
        facts.helper.as_mut().unwrap().namespaces = Err("too many".to_owned());
    });
    expect(&namespaces, CheckStatus::Warning, "too many");
}

#[test]
fn the_guest_program_must_speak_a_generation_that_is_understood() {
    let newest = banger_proto::GUEST_GENERATION;
    for (generation, status, word) in [
        (Ok(newest), CheckStatus::Ok, "generation"),
        (Ok(newest + 1), CheckStatus::Warning, "this banger"),
        (Ok(0), CheckStatus::Failed, "oldest"),
        (
            Err("it does not exist".to_owned()),
            CheckStatus::Failed,
            "does not exist",
        ),
    ] {
        let check = changed("guest-program", |facts| facts.guest.generation = generation);
        expect(&check, status, word);
    }
}

#[test]
fn places_must_be_writable_private_and_short() {
    let refused = || Err::<(), _>("no luck".to_owned());
    let fails = |id: &str, change: fn(&mut DirectoryFacts, Result<(), String>)| {
        let check = changed(id, |facts| change(&mut facts.directories, refused()));
        expect(&check, CheckStatus::Failed, "no luck");
    };
    fails("state-directory", |facts, no| facts.state.writable = no);
    fails("cache-directory", |facts, no| facts.cache.writable = no);
    fails("runtime-directory", |facts, no| facts.runtime.writable = no);
    fails("runtime-directory", |facts, no| {
        facts.runtime_is_private = no;
    });
    fails("socket-paths", |facts, no| facts.sockets = no);
    let plain = changed("reflinks", |facts| facts.directories.reflinks = Ok(false));
    expect(&plain, CheckStatus::Warning, "no reflinks");
    for (free, status) in [
        (1 << 20, CheckStatus::Failed),
        (1 << 30, CheckStatus::Warning),
        (1 << 32, CheckStatus::Ok),
    ] {
        let check = changed("state-space", |facts| {
            facts.directories.state.free = Ok(free);
        });
        expect(&check, status, "free at /state");
    }
}

#[test]
fn a_database_is_whole_and_not_too_new() {
    let database = |schema, faults: &[&str]| {
        let faults = faults.iter().map(|&fault| fault.to_owned()).collect();
        Ok(Some(DatabaseFacts {
            schema,
            newest_known: 7,
            faults,
        }))
    };
    for (facts, status, word) in [
        (Ok(None), CheckStatus::Ok, "none yet"),
        (database(7, &[]), CheckStatus::Ok, "whole"),
        (database(6, &[]), CheckStatus::Ok, "from 6 to 7"),
        (database(8, &[]), CheckStatus::Failed, "newer"),
        (
            database(7, &["row 1 missing"]),
            CheckStatus::Failed,
            "row 1",
        ),
        (Err("locked".to_owned()), CheckStatus::Failed, "locked"),
    ] {
        let check = changed("database", |known| known.database = facts);
        expect(&check, status, word);
    }
}

#[test]
fn programs_of_the_host_are_missed_only_where_they_are_needed() {
    let check = changed("e2fsprogs", |facts| facts.tools.resize2fs = None);
    expect(&check, CheckStatus::Warning, "resize2fs was not found");
    let check = changed("apt", |facts| facts.tools.apt = None);
    expect(&check, CheckStatus::Skipped, "apt-get");
    let check = changed("container-builder", |facts| {
        facts.tools.container_builders.clear();
    });
    expect(&check, CheckStatus::Skipped, "buildah");
    let check = changed("open-files", |facts| facts.open_files = Some(256));
    expect(&check, CheckStatus::Warning, "256");
    let check = changed("open-files", |facts| facts.open_files = None);
    expect(&check, CheckStatus::Ok, "no limit");
    let check = changed("clock", |facts| facts.now = SystemTime::UNIX_EPOCH);
    expect(&check, CheckStatus::Failed, "before 2026");
}
