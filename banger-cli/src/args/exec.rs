//! Commands in running VMs: `banger vm exec`, `attach`, `execs` and `shell`.

use banger_core::vm::ExecId;
use clap::{Args, builder::NonEmptyStringValueParser, value_parser};

use super::{values, vm::ProcessArgs};

/// Longest time that a command can be given, in seconds.
const LONGEST: u64 = 31_536_000;

/// Arguments of `vm exec`.
#[derive(Args, Clone, Debug)]
pub struct ExecArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// Leave the command running, and print its id
    ///
    /// It has no standard input. What it writes is kept, the newest part of it,
    /// for `banger vm attach`.
    #[arg(long, short, conflicts_with_all = ["tty", "interactive"])]
    pub detach: bool,
    /// Let the command go on when banger goes
    ///
    /// Unlike with --detach nothing of its output is lost: it waits when more
    /// would have to be kept, until somebody attaches.
    #[arg(long)]
    pub keep: bool,
    /// Call the command this: it is not started again when it was started under
    /// this id before
    #[arg(long, value_name = "ID")]
    pub id: Option<ExecId>,
    /// End the command after this many seconds, with exit status 124
    ///
    /// It gets SIGTERM, and SIGKILL 5 seconds later.
    #[arg(long, value_parser = value_parser!(u64).range(1..=LONGEST), value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// How the command runs.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `vm attach`.
#[derive(Args, Clone, Debug)]
pub struct AttachArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// The command's id, as `banger vm execs` shows it
    #[arg(value_name = "ID")]
    pub exec: ExecId,
    /// Start with the output at this offset, which counts the bytes of standard
    /// output and standard error together
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub offset: u64,
    /// Pass standard input on, and a terminal's keys as they are
    #[arg(long, short)]
    pub interactive: bool,
}

/// Arguments of `vm shell`.
#[derive(Args, Clone, Debug)]
pub struct ShellArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// Set a variable KEY=VALUE (can be repeated)
    #[arg(long = "env", short, value_parser = values::variable, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Start in this directory of the guest instead of the user's home
    #[arg(long, short, value_parser = values::absolute_directory, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Log in as this user of the guest: USER[:GROUP]
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
}
