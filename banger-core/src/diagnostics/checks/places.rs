//! Where files lie.

use super::{failed, ok, warning};
use crate::{
    diagnostics::{Answer, Check, DatabaseFacts, DirectoryFacts, PlaceFacts},
    domain::Bytes,
};

/// Less is not enough for one image.
const SPACE_WANTED: u64 = 2 * Bytes::GIB;
/// With less, not even records and logs can be relied on.
const SPACE_NEEDED: u64 = 128 * Bytes::MIB;

pub(super) fn checks(facts: &DirectoryFacts) -> Vec<Check> {
    vec![
        place("state-directory", "--state-dir", &facts.state),
        place("cache-directory", "--cache-dir", &facts.cache),
        runtime(facts),
        sockets(&facts.sockets),
        reflinks(&facts.reflinks),
        space("state-space", &facts.state),
        space("cache-space", &facts.cache),
    ]
}

fn place(id: &'static str, flag: &str, facts: &PlaceFacts) -> Check {
    match &facts.writable {
        Ok(()) => ok(id, format!("files can be made in {}", facts.path)),
        Err(problem) => failed(
            id,
            format!("{} cannot be used: {problem}", facts.path),
            format!("give this user the directory, or choose another one with {flag}"),
        ),
    }
}

fn runtime(facts: &DirectoryFacts) -> Check {
    let id = "runtime-directory";
    let place = place(id, "--runtime-dir", &facts.runtime);
    match &facts.runtime_is_private {
        Ok(()) => place,
        Err(problem) => failed(
            id,
            problem,
            format!(
                "make {0} this user's and nobody else's (chmod 0700 {0}), or choose another \
                 one with --runtime-dir",
                facts.runtime.path
            ),
        ),
    }
}

fn sockets(facts: &Answer<()>) -> Check {
    let id = "socket-paths";
    match facts {
        Ok(()) => ok(id, "the paths of sockets are short enough"),
        Err(problem) => failed(
            id,
            problem,
            "choose a shorter runtime directory with --runtime-dir or BANGER_RUNTIME_DIR",
        ),
    }
}

fn reflinks(facts: &Answer<bool>) -> Check {
    let id = "reflinks";
    match facts {
        Ok(true) => ok(id, "copies in the state directory share their blocks"),
        Ok(false) => warning(
            id,
            "the state directory's file system has no reflinks: copies of disks take time and \
             space",
            "keep the state directory on btrfs, or on XFS with reflink=1, if images are built or \
             machines are copied and kept often",
        ),
        Err(problem) => failed(
            id,
            format!("copies cannot be tried: {problem}"),
            "see what the check of the state directory says",
        ),
    }
}

fn space(id: &'static str, facts: &PlaceFacts) -> Check {
    let free = match &facts.free {
        Ok(free) => *free,
        Err(problem) => return failed(id, problem, "look why the file system does not answer"),
    };
    let found = format!("{} are free at {}", Bytes::new(free), facts.path);
    let advice = "make room: `banger image prune`, `banger vm prune` and `banger image delete` \
                  give some back";
    match free {
        free if free < SPACE_NEEDED => failed(id, found, advice),
        free if free < SPACE_WANTED => warning(id, found, advice),
        _ => ok(id, found),
    }
}

pub(super) fn database(facts: &Answer<Option<DatabaseFacts>>) -> Check {
    let id = "database";
    let facts = match facts {
        Ok(Some(facts)) => facts,
        Ok(None) => return ok(id, "there is none yet: the first command makes it"),
        Err(problem) => {
            return failed(
                id,
                problem,
                "look whether this user may read and write the file, and whether another program \
                 holds it; a damaged one is replaced from a backup",
            );
        }
    };
    let (schema, known) = (facts.schema, facts.newest_known);
    match (facts.faults.first(), schema) {
        (Some(fault), _) => failed(
            id,
            format!(
                "it is damaged: {}",
                fault.lines().next().unwrap_or_default()
            ),
            "stop all machines, keep a copy of the state directory, and put the database back from \
             a backup",
        ),
        (None, schema) if known < schema => failed(
            id,
            format!("its schema is {schema}, newer than the {known} that this banger knows"),
            "use a newer banger",
        ),
        (None, schema) if schema < known => ok(
            id,
            format!("it is whole; the next command takes its schema from {schema} to {known}"),
        ),
        _ => ok(id, format!("it is whole, with schema {schema}")),
    }
}
