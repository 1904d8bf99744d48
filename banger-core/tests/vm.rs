//! VMs end to end: real monitors, a real kernel under QEMU, and programs that
//! fail where a VMM would.
//!
//! This program is also the monitor of the VMs it starts, and the client that
//! is killed; so it has its own `main`. Needs the packages qemu-system-x86 and
//! busybox-static, and what `cargo xtask test` makes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by a panic, its helpers too, and this program is its own test runner"
)]

mod vm {
    mod crash;
    mod exec;
    pub(crate) mod fixture;
    mod life;
    mod refusal;
    pub(crate) mod runner;

    use runner::Test;

    pub(crate) const TESTS: &[Test] = &[
        ("exec_is_exact_and_vms_come_and_go", exec::exec_is_exact),
        ("sessions_can_be_given_up", exec::sessions_can_be_given_up),
        ("writes_survive_a_restart", life::writes_survive_a_restart),
        ("a_copy_of_the_disk_takes_the_writes", life::a_cloned_disk),
        ("a_running_vm_is_protected", life::a_running_vm_is_protected),
        ("a_guest_may_power_itself_off", life::a_guest_may_power_off),
        ("a_dropped_lifeline_ends_its_vm", life::a_dropped_lifeline),
        ("a_boot_can_be_stopped", life::a_boot_can_be_stopped),
        ("restart_kill_and_wait", life::restart_kill_and_wait),
        ("what_is_asked_of_a_vm_changes", life::a_changed_spec),
        ("the_ladder_has_rungs", life::the_ladder),
        ("the_ladder_ends_every_vmm", life::the_last_rungs),
        ("a_failure_is_waited_for", life::a_failure_is_waited_for),
        ("a_killed_monitor_takes_its_vm", crash::a_killed_monitor),
        ("a_killed_client_loses_nothing", crash::a_killed_client),
        (
            "a_killed_guests_journal_recovers",
            crash::a_killed_guests_journal,
        ),
        ("reconcile_removes_leftovers_only", crash::leftovers),
        ("a_cancelled_create_leaves_nothing", crash::cancelled_create),
        ("a_vm_whose_creator_is_gone_is_removed", crash::deserted_vms),
        ("a_broken_disk_names_its_stage", refusal::a_broken_disk),
        ("a_vmm_that_dies_is_quoted", refusal::a_vmm_that_dies),
        ("a_silent_vmm_meets_the_deadline", refusal::a_silent_vmm),
        ("a_prune_removes_what_ended", refusal::a_prune),
        ("what_happened_is_kept", refusal::what_happened),
        ("a_useless_monitor_is_reported", refusal::a_useless_monitor),
        ("what_cannot_work_is_refused_early", refusal::early_refusals),
    ];
}

use std::process::ExitCode;

use banger_core::vm::monitor::{self, MonitorArguments};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("__monitor") => match MonitorArguments::parse(arguments.skip(1)) {
            Ok(arguments) => monitor::run(&arguments),
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Some("__start") => vm::fixture::start_in_directory(&arguments.skip(1).collect::<Vec<_>>()),
        _ => vm::runner::run(vm::TESTS, &arguments.collect::<Vec<_>>()),
    }
}
