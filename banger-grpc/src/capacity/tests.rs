//! Whether there is room.

use camino::Utf8Path;

use super::*;

fn usage(vms: u64, memory: u64) -> Usage {
    Usage {
        committed: Amounts {
            vms,
            memory,
            ..Amounts::default()
        },
        reserved: Amounts {
            memory: 1,
            ..Amounts::default()
        },
    }
}

fn need(vms: u64, memory: u64) -> Need {
    Need {
        amounts: Amounts {
            vms,
            memory,
            ..Amounts::default()
        },
        ..Need::default()
    }
}

#[test]
fn everything_that_is_short_is_named_and_nothing_that_is_not_asked_for() {
    let limit = Limit {
        vms: Some(3),
        memory: Some(10),
        ..Limit::default()
    };
    for (usage, need, expected) in [
        (usage(2, 4), need(1, 5), &[][..]),
        (usage(3, 0), need(1, 5), &["host/vms"]),
        (usage(3, 9), need(1, 1), &["host/vms", "host/memory_bytes"]),
        // it is over already, and not asked for more
        (usage(9, 4), need(0, 5), &[]),
        (usage(0, 0), need(1, u64::MAX), &["host/memory_bytes"]),
    ] {
        let short = short("host", &limit, &usage, &need);
        let subjects: Vec<&str> = short.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(subjects, expected, "{usage:?} {need:?}");
    }
}

#[test]
fn a_budget_is_what_the_host_has_times_what_is_promised() {
    let budget = Budget {
        host: Limit {
            vms: Some(7),
            vcpus: Some(4),
            memory: Some(u64::MAX),
            disk: None,
        },
        overcommit: Overcommit {
            vcpus: 250,
            memory: 200,
            disk: 100,
        },
        per_owner: Limit::default(),
    };
    let expected = Limit {
        vms: Some(7),
        vcpus: Some(10),
        memory: Some(u64::MAX),
        disk: None,
    };
    assert_eq!(budget.limit(), expected);
    let host = Budget::of_host(Utf8Path::new("/")).unwrap().host;
    assert!(host.memory.unwrap() > 1 << 26 && host.vcpus.unwrap() > 0 && host.disk.unwrap() > 0);
}
