//! Pages of the list of VMs: which VMs, in which order, from where on. Pure.
//!
//! Invariants: an order uses only what never changes in a record, so that a VM
//! which is there for the whole of a walk is met exactly once; a VM matches by
//! what it is and not by what its record said. Entry points: [`VmPage`].

use std::time::SystemTime;

use super::{Vm, VmId, VmName, VmState};

/// A part of the list of VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPage {
    /// In which order, and after which VM.
    pub order: VmOrder,
    /// The order backwards; the VMs after one are those before it then.
    pub descending: bool,
    /// Which VMs: those that meet all of these.
    pub terms: Vec<VmTerm>,
    /// Most VMs.
    pub limit: u32,
}

/// An order, and the last VM of the page before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmOrder {
    /// By name.
    Name {
        /// The last one's.
        after: Option<VmName>,
    },
    /// By when it was made; by id where that is the same.
    Created {
        /// The last one's.
        after: Option<(SystemTime, VmId)>,
    },
}

/// Something that a VM has, or has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTerm {
    /// What.
    pub property: VmProperty,
    /// Whether it must not have it.
    pub negated: bool,
}

/// A property of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmProperty {
    /// Its state.
    State(VmState),
    /// Its name.
    Name(String),
    /// Its id.
    Id(String),
    /// The id of its image.
    Image(String),
    /// A label and its value. One that is not there equals nothing.
    Label {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl VmPage {
    /// Whether a VM is one of those that are meant.
    #[must_use]
    pub fn matches(&self, vm: &Vm) -> bool {
        self.terms.iter().all(|term| term.matches(vm))
    }

    /// The order after the VM.
    #[must_use]
    pub fn order_after(&self, vm: &Vm) -> VmOrder {
        match self.order {
            VmOrder::Name { .. } => VmOrder::Name {
                after: Some(vm.name.clone()),
            },
            VmOrder::Created { .. } => VmOrder::Created {
                after: Some((vm.created, vm.id)),
            },
        }
    }
}

impl VmTerm {
    /// Whether it holds for a VM.
    #[must_use]
    pub fn matches(&self, vm: &Vm) -> bool {
        self.property.is_of(vm) != self.negated
    }
}

impl VmProperty {
    fn is_of(&self, vm: &Vm) -> bool {
        match self {
            Self::State(state) => vm.state == *state,
            Self::Name(name) => vm.name.as_str() == name,
            Self::Id(id) => vm.id.to_string() == *id,
            Self::Image(id) => vm.image.to_string() == *id,
            Self::Label { key, value } => vm.spec.labels.get(key) == Some(value),
        }
    }
}
