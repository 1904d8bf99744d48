//! Volumes of machines and connections into them, with a service and without one.

use super::{Environment, Service, Twins};
use crate::e2e::port_forward;

const VOLUMES: &str = "
    0 both volume list
    0 same volume create data --size 64M
    4 both volume create data --size 64M
    2 both volume create tiny --size 1M
    0 same --json volume create other --size 16M
    0 both volume show data
    3 both volume show none
    3 both volume delete none
    3 both vm create small --name x --volume none:/data
    2 both vm create small --name x --volume data:/proc/x
    2 both vm create small --name x --volume /etc/passwd:/file
    3 both vm create small --name x --volume /nowhere/at/all:/data
    0 same vm create small --name one --volume data:/data --volume DIRECTORY
    0 both volume list
    4 both volume delete data
    0 both vm show one
    0 same vm start one
    0 same vm exec one -- busybox cp /copied/file /data/kept
    0 same vm stop one
    0 same vm delete one
    0 same vm create small --name two --volume data:/data:ro
    0 same vm start two
    0 same vm exec two -- cat /data/kept
    1 same vm exec two -- busybox touch /data/more
    0 same vm kill two
    0 same vm delete two
    0 same volume delete data other
    3 both volume delete data";

#[test]
fn volumes_are_the_same_with_a_service() {
    let twins = Twins::with_image();
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("file"), "content\n").unwrap();
    let directory = format!("{}:/copied", scratch.path().to_str().unwrap());
    twins.play(VOLUMES, &[("DIRECTORY", &directory)]);
    twins.agree();
}

#[test]
fn forwarded_ports_reach_a_guests_servers_over_a_service() {
    let environment = Environment::with_image();
    let service = Service::start(&environment, &[]);
    port_forward::reach(&environment, &["--endpoint", &service.endpoint]);
}
