//! Who calls, and what they may.
//!
//! Invariants: a caller is made where its credentials are checked and nowhere else
//! ([`crate::access`]); whoever was not checked is nobody, who owns nothing and may
//! nothing. Pure. Entry points: [`Caller`], [`Scopes`].

use std::str::FromStr;

use banger_core::domain::{Vm, Volume};

/// The label with the identity of whoever had the machine or volume made.
pub(crate) const OWNER_LABEL: &str = "banger.owner";

/// What identities begin with.
const TOKEN: &str = "token:";
const CERTIFICATE: &str = "certificate:";

/// A part of the API that a caller may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Images and kernels: see, pull, import and delete them.
    Images,
    /// Machines, as long as they are the caller's own, and to see images and kernels.
    OwnVms,
    /// Everything, and everybody's.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Images, Self::OwnVms, Self::Admin];

    /// What it is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::OwnVms => "vms:own",
            Self::Admin => "admin",
        }
    }
}

/// A text that names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope {0:?} is unknown: there are images, vms:own and admin")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// Parts of the API that a caller may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether one of them is that.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let bits = scopes.into_iter().map(|scope| 1 << scope as u8);
        Self(bits.fold(0, |all, one| all | one))
    }
}

/// Whoever sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    identity: String,
    scopes: Scopes,
}

impl Caller {
    /// A user of this host who may use the server's own socket.
    pub(crate) fn local(uid: u32) -> Self {
        Self {
            identity: format!("uid:{uid}"),
            scopes: Scopes::from_iter([Scope::Admin]),
        }
    }

    /// Whoever has a token of that owner.
    pub(crate) fn token(owner: &str, scopes: Scopes) -> Self {
        Self {
            identity: format!("{TOKEN}{owner}"),
            scopes,
        }
    }

    /// Whoever has the key of a certificate with that name.
    pub(crate) fn certificate(name: &str, scopes: Scopes) -> Self {
        Self {
            identity: format!("{CERTIFICATE}{name}"),
            scopes,
        }
    }

    /// Whoever was not checked.
    pub(crate) fn nobody() -> Self {
        Self {
            identity: "nobody".to_owned(),
            scopes: Scopes::default(),
        }
    }

    /// Whether it is known by what the list of credentials says, or could say.
    pub(crate) fn is_listed(&self) -> bool {
        self.identity.starts_with(TOKEN) || self.certificate_name().is_some()
    }

    /// The name in its certificate, if it is known by that.
    pub(crate) fn certificate_name(&self) -> Option<&str> {
        self.identity.strip_prefix(CERTIFICATE)
    }

    /// What tells it from other callers.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether everything is open to it.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.scopes.has(Scope::Admin)
    }

    /// Whether one of these scopes is enough for it.
    pub(crate) fn may(&self, any_of: &[Scope]) -> bool {
        self.is_admin() || any_of.iter().any(|scope| self.scopes.has(*scope))
    }

    /// Whose things it sees; none when it sees everybody's.
    pub(crate) fn sees(&self) -> Option<&str> {
        (!self.is_admin()).then_some(self.identity.as_str())
    }

    /// Whether what has that owner is there for it.
    pub(crate) fn sees_of(&self, owner: Option<&str>) -> bool {
        self.sees().is_none_or(|own| owner == Some(own))
    }

    /// Whether the machine is there for it.
    pub(crate) fn sees_vm(&self, vm: &Vm) -> bool {
        let owner = vm.spec.labels.get(OWNER_LABEL);
        self.sees_of(owner.map(String::as_str))
    }

    /// Whether the volume is there for it.
    pub(crate) fn sees_volume(&self, volume: &Volume) -> bool {
        let owner = volume.labels.get(OWNER_LABEL);
        self.sees_of(owner.map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::vm;

    #[test]
    fn scopes_have_names_that_lead_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            let only = Scopes::from_iter([scope]);
            let had = Scope::ALL.into_iter().filter(|one| only.has(*one));
            assert_eq!(had.collect::<Vec<_>>(), [scope]);
        }
        assert!("vms".parse::<Scope>().is_err());
        assert!(Scopes::default().is_empty());
    }

    #[test]
    fn machines_are_their_owners_and_the_admins() {
        let scopes = Scopes::from_iter([Scope::OwnVms, Scope::Images]);
        let (ann, bob) = (Caller::token("ann", scopes), Caller::token("bob", scopes));
        let mut machine = vm("web");
        assert!(!ann.sees_vm(&machine) && !bob.sees_vm(&machine));
        assert!(Caller::local(0).sees_vm(&machine));
        let label = (OWNER_LABEL.to_owned(), ann.identity().to_owned());
        machine.spec.labels.extend([label]);
        assert!(ann.sees_vm(&machine) && !bob.sees_vm(&machine));
        assert!(!Caller::certificate("ann", scopes).sees_vm(&machine));
        assert!(!Caller::nobody().sees_vm(&machine));
        assert!(Caller::local(0).sees_vm(&machine));
    }
}
