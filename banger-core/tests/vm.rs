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
    mod boots;
    mod connect;
    mod contract;
    mod crash;
    pub(crate) mod crowd;
    mod exec;
    mod failures;
    mod files;
    mod firecracker;
    pub(crate) mod fixture;
    mod images;
    mod leases;
    mod life;
    mod memory;
    pub(crate) mod network;
    mod proxy;
    mod refusal;
    pub(crate) mod runner;
    #[path = "../common/scratch.rs"]
    pub(crate) mod scratch;
    pub(crate) mod sessions;
    mod snapshots;
    // what the backends' own tests boot
    #[path = "../../src/vmm/contract/guest.rs"]
    mod tiny_guest;
    mod volumes;
    pub(crate) mod walk;

    use runner::Test;

    pub(crate) const TESTS: &[Test] = &[
        ("a_user_network_goes_both_ways", network::both_ways),
        (
            "no_network_is_none_and_a_disk_stays",
            network::none_and_an_own_disk,
        ),
        ("a_taken_port_is_named", network::a_taken_port),
        ("names_are_resolved_by_the_host", network::names),
        ("exec_is_exact_and_vms_come_and_go", exec::exec_is_exact),
        ("sessions_can_be_given_up", exec::sessions_can_be_given_up),
        (
            "ten_killed_clients_lose_no_byte_and_hear_one_exit",
            sessions::ten_killed_clients,
        ),
        (
            "a_session_has_exactly_one_end_of_each_kind",
            sessions::every_kind_of_end,
        ),
        (
            "a_broken_connection_is_made_again",
            sessions::broken_connections,
        ),
        ("files_go_both_ways", files::both_ways),
        ("files_are_refused_by_name", files::refusals),
        ("a_full_disk_is_told", files::full_and_large),
        ("a_copy_can_be_given_up", files::given_up),
        ("connections_reach_a_guests_servers", connect::connections),
        ("connections_end_with_the_vm", connect::the_vm_ends),
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
        ("a_paused_vm_stands_still", leases::a_paused_vm),
        ("a_life_is_limited", leases::a_limited_life),
        ("a_life_ends_at_rest_too", leases::a_life_that_ends_at_rest),
        ("logs_begin_at_a_time", leases::logs_since_a_time),
        (
            "an_image_of_busybox_keeps_the_contract",
            contract::of_busybox,
        ),
        ("a_debian_keeps_the_contract", contract::of_systemd),
        ("one_program_keeps_the_contract", contract::of_one_program),
        (
            "a_kept_linux_guest_goes_on_twice",
            snapshots::a_linux_guest_goes_on_twice,
        ),
        (
            "a_command_goes_on_with_its_machine",
            snapshots::a_command_goes_on,
        ),
        (
            "firecracker_goes_on_from_a_snapshot",
            snapshots::firecracker_goes_on,
        ),
        (
            "firecracker_refuses_what_cannot_be_kept",
            snapshots::firecracker_is_not_kept,
        ),
        (
            "firecracker_survives_damaged_snapshots",
            snapshots::firecrackers_leftovers,
        ),
        (
            "a_hundred_vms_come_and_go_at_once",
            crowd::a_hundred_at_once,
        ),
        ("a_monitor_is_small", memory::a_small_monitor),
        ("a_failure_is_waited_for", life::a_failure_is_waited_for),
        (
            "everybody_is_killed_at_every_step_under_firecracker",
            walk::every_step,
        ),
        (
            "everybody_is_killed_at_every_step_in_a_jail_under_firecracker",
            walk::every_step_in_jails,
        ),
        (
            "a_restart_is_not_pruned_under_firecracker",
            walk::between::a_restart_is_not_pruned,
        ),
        (
            "a_lost_network_ends_its_vm_under_firecracker",
            walk::between::a_lost_network_ends_its_vm,
        ),
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
        (
            "firecracker_runs_under_a_monitor",
            firecracker::a_guest_without_an_agent,
        ),
        (
            "firecracker_runs_in_a_jail_under_a_monitor",
            firecracker::a_guest_in_a_jail,
        ),
        (
            "a_jail_that_cannot_be_had_is_refused_early",
            firecracker::a_jail_that_cannot_be_had,
        ),
        (
            "firecrackers_refusal_is_told",
            firecracker::a_machine_that_cannot_be_made,
        ),
        (
            "a_guest_of_firecracker_may_end",
            firecracker::a_guest_that_ends_its_machine,
        ),
        ("a_useless_monitor_is_reported", refusal::a_useless_monitor),
        ("what_cannot_work_is_refused_early", refusal::early_refusals),
        (
            "a_command_is_what_a_machine_is_for",
            boots::a_command_is_what_a_machine_is_for,
        ),
        (
            "a_command_is_asked_to_stop",
            boots::a_command_is_asked_to_stop,
        ),
        (
            "a_command_that_does_not_start_says_why",
            boots::commands_that_do_not_start,
        ),
        ("a_program_alone_in_its_image_runs", boots::a_scratch_image),
        (
            "a_debian_runs_systemd_to_its_end",
            boots::a_debian_with_systemd,
        ),
        (
            "an_image_without_an_init_says_so",
            boots::an_image_without_an_init,
        ),
        ("a_missing_part_is_named", failures::missing_parts),
        (
            "a_kernel_that_panics_is_quoted",
            failures::a_kernel_that_panics,
        ),
        ("too_little_memory_is_told", failures::too_little_memory),
        ("a_full_disk_is_told", failures::a_full_disk),
        (
            "named_volumes_are_shared_and_outlive_vms",
            volumes::named_volumes,
        ),
        (
            "directories_are_copied_and_disks_only_read",
            volumes::directories_and_disks,
        ),
        ("a_volume_that_fails_is_named", volumes::volumes_that_fail),
        ("a_copy_of_the_disk_grows", volumes::a_copy_grows),
    ];
}

use std::process::ExitCode;

use banger_core::vm::monitor::{self, MonitorArguments};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("__monitor") => run_monitor(&arguments.skip(1).collect::<Vec<_>>()),
        Some("__restart") => vm::walk::between::restart(&arguments.skip(1).collect::<Vec<_>>()),
        Some("__walk") => vm::walk::ask(&arguments.skip(1).collect::<Vec<_>>()),
        Some("__names") => vm::network::names_in_namespace(),
        Some("__crowd") => vm::crowd::work(&arguments.skip(1).collect::<Vec<_>>()),
        Some("__start") => vm::fixture::start_in_directory(&arguments.skip(1).collect::<Vec<_>>()),
        Some("__client") => vm::sessions::client(&arguments.skip(1).collect::<Vec<_>>()),
        _ => vm::runner::run(vm::TESTS, &arguments.collect::<Vec<_>>()),
    }
}

fn run_monitor(arguments: &[String]) -> ExitCode {
    vm::walk::obey_in_monitor(arguments);
    match MonitorArguments::parse(arguments.iter().cloned()) {
        Ok(arguments) => monitor::run(&arguments),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
