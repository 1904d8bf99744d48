//! Who is to be killed at which step. The order lies in the state directory,
//! because a monitor inherits nothing and may be older than the order: every
//! process looks at each of its steps.

use std::{
    fmt, fs,
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::getpid;
use tokio::time::{Instant, sleep};

use super::{
    super::fixture::PATIENCE,
    ground::PAUSE,
    processes::{self, Role, namespaces},
    steps,
};

/// The order; steps are only counted while it is there.
const ORDER: &str = "walk-order";
/// A line for each step that was made since: who made it, the step, and who
/// could have been killed there.
const TRACE: &str = "walk-trace";
/// The step that was met, and a line for each who was killed there.
const HIT: &str = "walk-hit";
/// The time of the kill, and every namespace that a VMM was in by then.
const NAMESPACES: &str = "walk-namespaces";

/// Kill `victim` at that step, counted from 1, of `walker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) walker: Role,
    pub(crate) step: usize,
    pub(crate) victim: Role,
}

/// A step that was made.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) walker: Role,
    pub(crate) name: String,
    /// Who lived then.
    pub(crate) alive: Vec<Role>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// The step with this name was made, and the victim killed.
    Killed(String),
    /// The step was made when the victim did not live.
    Absent,
    /// The step was not made.
    Missed,
}

impl Order {
    /// One that kills nobody: the steps are noted.
    pub(crate) const NOBODY: Self = Self {
        walker: Role::Client,
        step: usize::MAX,
        victim: Role::Client,
    };

    /// Gives the order.
    pub(crate) fn give(&self, root: &Utf8Path) {
        for left in [TRACE, HIT, NAMESPACES] {
            drop(fs::remove_file(root.join(left)));
        }
        let text = format!("{} {} {}", self.walker, self.step, self.victim);
        write(root, ORDER, &text);
    }

    /// Takes it back; answers what became of it.
    pub(crate) fn take_back(root: &Utf8Path) -> Hit {
        fs::remove_file(root.join(ORDER)).unwrap();
        match hit(root) {
            None => Hit::Missed,
            Some((_, victims)) if victims.is_empty() => Hit::Absent,
            Some((step, _)) => Hit::Killed(step),
        }
    }

    fn read(root: &Utf8Path) -> Option<Self> {
        let text = fs::read_to_string(root.join(ORDER)).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            walker: Role::named(words.next()?),
            step: words.next()?.parse().unwrap(),
            victim: Role::named(words.next()?),
        })
    }
}

/// The steps that were made since the order was given.
pub(crate) fn trace(root: &Utf8Path) -> Vec<Step> {
    let text = fs::read_to_string(root.join(TRACE)).unwrap_or_default();
    text.lines().map(Step::parse).collect()
}

/// When somebody was killed, and the namespaces of this directory's VMMs then.
pub(crate) fn known_namespaces(root: &Utf8Path) -> Option<(u64, Vec<String>)> {
    let text = fs::read_to_string(root.join(NAMESPACES)).ok()?;
    let mut lines = text.lines();
    let time = lines.next()?.parse().unwrap();
    Some((time, lines.map(str::to_owned).collect()))
}

/// Waits for the step: a monitor may come to it after its client has ended. There
/// may be one step less than in peace, so this is no error.
pub(crate) async fn met(root: &Utf8Path) {
    let deadline = Instant::now() + PATIENCE / 20;
    while !root.join(HIT).exists() && Instant::now() < deadline {
        sleep(PAUSE).await;
    }
}

/// Waits until no more steps are made: a monitor makes its last one when its
/// client knows the answer already.
pub(crate) async fn quiet(root: &Utf8Path) {
    let mut made = 0;
    while made != trace(root).len() {
        made = trace(root).len();
        sleep(PAUSE * 20).await;
    }
}

/// Those who were killed, if somebody was.
pub(crate) fn victims(root: &Utf8Path) -> Vec<i32> {
    hit(root).map(|(_, victims)| victims).unwrap_or_default()
}

/// The step of the kill, and who was killed.
fn hit(root: &Utf8Path) -> Option<(String, Vec<i32>)> {
    let text = fs::read_to_string(root.join(HIT)).ok()?;
    let (step, victims) = text.split_once('\n')?;
    let victims = victims.lines().map(|id| id.parse().unwrap());
    Some((step.to_owned(), victims.collect()))
}

/// Carries out whatever is ordered at the steps of this process.
pub(crate) fn obey(root: Utf8PathBuf, own: Role) {
    let one_by_one = Mutex::new(());
    steps::watch(move |name| {
        let _turn = one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = Order::read(&root) {
            reached(&root, own, name, &order);
        }
    });
}

fn reached(root: &Utf8Path, own: Role, name: &str, order: &Order) {
    let alive = if *order == Order::NOBODY {
        processes::roles(root)
    } else {
        Vec::new()
    };
    let walker = own;
    let name = name.to_owned();
    note(
        root,
        TRACE,
        &Step {
            walker,
            name,
            alive,
        }
        .to_string(),
    );
    let made = trace(root).iter().filter(|step| step.walker == own).count();
    if own == order.walker && made == order.step && !root.join(HIT).exists() {
        kill(root, order, &trace(root).pop().unwrap().name);
    }
}

fn kill(root: &Utf8Path, order: &Order, step: &str) {
    let living = processes::of(root);
    note(root, NAMESPACES, &processes::now().to_string());
    for vmm in living.iter().filter(|living| living.role == Role::Vmm) {
        for namespace in namespaces(vmm.id) {
            note(root, NAMESPACES, &namespace);
        }
    }
    let victims: Vec<_> = living
        .iter()
        .filter(|living| living.role == order.victim)
        .collect();
    let ids = victims.iter().map(|victim| victim.id.to_string());
    let said: Vec<String> = [step.to_owned()].into_iter().chain(ids).collect();
    write(root, HIT, &(said.join("\n") + "\n"));
    for victim in victims {
        processes::kill(victim.id);
        if victim.id == getpid().as_raw_pid() {
            // it takes no further step before the signal arrives
            loop {
                std::thread::park();
            }
        }
    }
}

/// Writes a file that others read at any time.
fn write(root: &Utf8Path, file: &str, text: &str) {
    let whole = root.join(format!("{file}.new"));
    fs::write(&whole, text).unwrap();
    fs::rename(whole, root.join(file)).unwrap();
}

fn note(root: &Utf8Path, file: &str, line: &str) {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .open(root.join(file))
        .unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alive: Vec<_> = self.alive.iter().map(ToString::to_string).collect();
        write!(f, "{}\t{}\t{}", self.walker, self.name, alive.join(" "))
    }
}

impl Step {
    fn parse(line: &str) -> Self {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        Self {
            walker: Role::named(next()),
            name: next().to_owned(),
            alive: next().split_whitespace().map(Role::named).collect(),
        }
    }
}
