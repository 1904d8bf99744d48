//! Records for tests.

use std::time::SystemTime;

use banger_core::domain::{ImageId, Vm, VmId, VmSpec, VmState};

pub(crate) fn vm(name: &str) -> Vm {
    Vm {
        id: VmId::generate(),
        name: name.parse().unwrap(),
        image: ImageId::generate(),
        spec: VmSpec::default(),
        state: VmState::Created,
        reason: String::new(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        created: SystemTime::UNIX_EPOCH,
        started: None,
        stopped: None,
        generation: 1,
    }
}
