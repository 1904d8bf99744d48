//! Everybody who works on a VM is killed at every step of every operation:
//! nothing remains afterwards but what the records name, and the same request
//! repeated gives one VM.
//!
//! An operation is first carried out in peace, which tells the steps there are
//! and who lives at each; then once for each of them and whoever could be
//! killed there. Operations are added in `operation.rs`, and their steps are
//! walked by themselves.

pub(crate) mod between;
mod ground;
mod leftovers;
mod operation;
mod order;
mod processes;
#[path = "../common/steps.rs"]
mod steps;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use banger_core::process::command;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::{process::Child, time::timeout};

use super::fixture::{PATIENCE, block_on};
use ground::Ground;
use operation::{Operation, Walk};
use order::{Hit, Order, Step};
use processes::Role;

/// State directories that are worked in at a time.
const GROUNDS: usize = 3;
/// Walks of a case whose guest KVM gives up on.
const TRIES: usize = 3;

/// The status of a program of Rust's that panicked.
const PANICKED: i32 = 101;

/// Somebody to be killed at a step of an operation.
#[derive(Clone, Debug)]
struct Case {
    operation: Operation,
    order: Order,
}

/// How often whom was killed: by operation, who made the step, and victim.
type Kills = BTreeMap<(Operation, Role, Role), usize>;

pub(crate) fn every_step() {
    every_step_of(false);
}

/// The same of machines in jails.
pub(crate) fn every_step_in_jails() {
    every_step_of(true);
}

fn every_step_of(jailed: bool) {
    let mut planned = Vec::new();
    block_on(async { planned = plan(jailed).await });
    let (kills, failures) = (Mutex::new(Kills::new()), Mutex::new(Vec::new()));
    let next = AtomicUsize::new(0);
    let work = || {
        block_on(async {
            let mut ground = Ground::new(jailed).await;
            while let Some(case) = planned.get(next.fetch_add(1, Ordering::SeqCst)) {
                match walk_again(&mut ground, case, jailed).await {
                    Ok(Hit::Killed(_)) => {
                        let key = (case.operation, case.order.walker, case.order.victim);
                        *kills.lock().unwrap().entry(key).or_default() += 1;
                    }
                    Ok(_) => {}
                    Err(failure) => failures.lock().unwrap().push(failure),
                }
            }
        });
    };
    thread::scope(|scope| {
        for _ in 0..GROUNDS {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
    report(&kills.into_inner().unwrap(), jailed);
}

/// Everybody who can be killed somewhere.
async fn plan(jailed: bool) -> Vec<Case> {
    let ground = Ground::new(jailed).await;
    let mut planned = Vec::new();
    for walk in Operation::ALL {
        let steps = undisturbed(&ground, walk.operation).await;
        for (walker, least) in walk.fewest {
            let steps = steps.iter().filter(|step| step.walker == *walker);
            let steps: Vec<_> = steps.collect();
            assert!(*least <= steps.len(), "{walk:?}: {steps:?}");
            for (index, step) in steps.iter().enumerate() {
                planned.extend(cases_of(&walk, index + 1, step));
            }
        }
    }
    planned
}

fn cases_of(walk: &Walk, step: usize, made: &Step) -> Vec<Case> {
    let alive = made.alive.iter();
    let victims = alive.filter(|victim| walk.victims.contains(victim));
    let case = |victim: &Role| Case {
        operation: walk.operation,
        order: Order {
            walker: made.walker,
            step,
            victim: *victim,
        },
    };
    victims.map(case).collect()
}

/// Carries an operation out in peace; answers its steps.
async fn undisturbed(ground: &Ground, operation: Operation) -> Vec<Step> {
    let root = ground.root();
    operation.prepare(ground).await;
    Order::NOBODY.give(&root);
    let status = ended(client(&root, operation)).await.unwrap();
    assert!(status.success(), "{operation:?}: {status}");
    let left = ground.settled(|vms| operation.may_leave(vms)).await;
    order::quiet(&root).await;
    Order::take_back(&root);
    left.unwrap_or_else(|problem| panic!("{operation:?}: {problem}"));
    ground.clear().await.unwrap();
    order::trace(&root)
}

/// Walks a case; once more where the host's KVM got in the way. Whatever else is
/// wrong is told at once: what remains only now and then remains.
async fn walk_again(ground: &mut Ground, case: &Case, jailed: bool) -> Result<Hit, String> {
    for _ in 0..TRIES {
        let before = ground.changes().await;
        let failure = match walk(ground, case).await {
            Ok(hit) => return Ok(hit),
            Err(failure) => failure,
        };
        let excused = ground.kvm_gave_up(before).await;
        eprintln!("{failure}");
        ground.give_up();
        *ground = Ground::new(jailed).await;
        if !excused {
            return Err(failure);
        }
    }
    Err(format!("{case:?}: KVM gave up {TRIES} times"))
}

/// Kills somebody at a step; the error is what is wrong afterwards.
async fn walk(ground: &Ground, case: &Case) -> Result<Hit, String> {
    let (operation, root) = (case.operation, ground.root());
    operation.prepare(ground).await;
    case.order.give(&root);
    let ended = ended(client(&root, operation)).await;
    order::met(&root).await;
    let left = ground.settled(|vms| operation.may_leave(vms)).await;
    let hit = Order::take_back(&root);
    let ended = ended.and_then(|status| match status.code() {
        Some(PANICKED) => Err("the client panicked".to_owned()),
        _ => Ok(()),
    });
    let about = |problem: String| {
        let Order { walker, victim, .. } = case.order;
        format!("{operation:?}, {victim} at a step of the {walker}, {hit:?}: {problem}")
    };
    ended.map_err(about)?;
    let left = left.map_err(|problem| about(format!("left: {problem}")))?;
    let again = Ground::open(&root).await;
    let answer = operation.ask(&again, &root).await;
    if !operation.allows(left.as_ref(), &answer) {
        return Err(about(format!(
            "repeated over {:?}: {answer:?}",
            left.map(|vm| vm.state)
        )));
    }
    let now = ground.settled(|vms| operation.is_done(vms)).await;
    now.map_err(|problem| about(format!("left when repeated: {problem}")))?;
    drop(answer);
    let cleared = ground.clear().await;
    cleared.map_err(|problem| about(format!("left by a deletion: {problem}")))?;
    Ok(hit)
}

/// The process that asks, and may be killed: this program.
fn client(root: &Utf8Path, operation: Operation) -> Child {
    let mut command = command(std::env::current_exe().unwrap());
    command.args(["__walk", root.as_str(), &format!("{operation:?}")]);
    command.spawn().unwrap()
}

async fn ended(mut client: Child) -> Result<std::process::ExitStatus, String> {
    match timeout(PATIENCE, client.wait()).await {
        Ok(status) => Ok(status.unwrap()),
        Err(_) => Err("the client hangs".to_owned()),
    }
}

/// Arguments are the state directory and the operation.
pub(crate) fn ask(arguments: &[String]) -> ExitCode {
    let [root, operation] = arguments else {
        panic!("a directory and an operation are needed");
    };
    let (root, operation) = (Utf8PathBuf::from(root), Operation::named(operation));
    let mut code = ExitCode::SUCCESS;
    block_on(async {
        let vms = Ground::open(&root).await;
        order::obey(root.clone(), Role::Client);
        if operation.ask(&vms, &root).await.is_err() {
            code = ExitCode::FAILURE;
        }
    });
    code
}

/// Has a monitor of a walk's VM obey, too: arguments are its own.
pub(crate) fn obey_in_monitor(arguments: &[String]) {
    let launch = arguments.iter().find_map(|argument| {
        let path = Utf8Path::new(argument);
        path.ends_with("launch.json").then_some(path)
    });
    // <root>/state/vms/<id>/launch.json
    let root = launch.and_then(|launch| launch.ancestors().nth(4));
    if let Some(root) = root.filter(|root| Ground::is_at(root)) {
        order::obey(root.to_owned(), Role::Monitor);
    }
}

/// Says how often whom was killed; nobody and nothing may have been left out.
fn report(kills: &Kills, jailed: bool) {
    for Walk {
        operation, fewest, ..
    } in Operation::ALL
    {
        for (walker, least) in fewest {
            let of = |victim| {
                let count = kills.get(&(operation, *walker, victim));
                count.copied().unwrap_or_default()
            };
            let told = Role::ALL.map(|victim| format!("{victim} {}", of(victim)));
            let told = format!(
                "{operation:?}, steps of the {walker}: killed {}",
                told.join(", ")
            );
            println!("{told}");
            assert!(
                Role::ALL.into_iter().any(|victim| *least <= of(victim)),
                "{told}"
            );
        }
    }
    let is_there = |role: &Role| jailed || *role != Role::Keeper;
    for victim in Role::ALL.into_iter().filter(is_there) {
        let of_victim = kills.iter().filter(|((.., it), _)| *it == victim);
        let count: usize = of_victim.map(|(_, count)| count).sum();
        assert!(0 < count, "no {victim} was killed");
    }
}
