//! Names of resources: a collection and an id.

use std::fmt::Display;

use banger_core::domain::OperationId;
use uuid::Uuid;

use super::Checks;

/// What names of one sort begin with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collection(&'static str);

/// Virtual machines, by name or uid.
pub(crate) const VMS: Collection = Collection("vms");
/// Images, by name or uid.
pub(crate) const IMAGES: Collection = Collection("images");
/// Kernels, by name.
pub(crate) const KERNELS: Collection = Collection("kernels");
/// Files of clients, by the ids that these made.
pub(crate) const UPLOADS: Collection = Collection("uploads");
/// Snapshots, by uid.
pub(crate) const SNAPSHOTS: Collection = Collection("snapshots");
/// Volumes, by name.
pub(crate) const VOLUMES: Collection = Collection("volumes");
/// Sessions of a caller, by name or uid.
pub(crate) const SESSIONS: Collection = Collection("sessions");
/// Operations, by id or by request.
pub(crate) const OPERATIONS: Collection = Collection("operations");

/// The part of an operation's name that says that a request's id follows.
const BY_REQUEST: &str = "by-request/";

impl Collection {
    /// The name of one.
    pub(crate) fn name(self, id: impl Display) -> String {
        format!("{}/{id}", self.0)
    }

    /// The id in a name. It may be anything but empty; what has a grammar of its own
    /// is parsed after this.
    pub(crate) fn id<'a>(self, field: &str, name: &'a str, checks: &mut Checks) -> Option<&'a str> {
        let id = name
            .strip_prefix(self.0)
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|id| !id.is_empty());
        if id.is_none() {
            checks.violated(field, format!("is not {}/ID", self.0));
        }
        id
    }
}

/// The id in the name of an upload: a UUID in its usual form.
pub(crate) fn upload(field: &str, name: &str, checks: &mut Checks) -> Option<Uuid> {
    let id = UPLOADS.id(field, name, checks)?;
    let parsed = Uuid::try_parse(id).ok();
    let usual = parsed.filter(|parsed| parsed.hyphenated().to_string() == id);
    if usual.is_none() {
        checks.violated(field, "is no UUID in its usual form, in lower case");
    }
    usual
}

/// How a client names an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OperationName {
    /// By its own id.
    Id(OperationId),
    /// By the id of a request of the same caller.
    Request(String),
}

impl OperationName {
    pub(crate) fn parse(name: &str, checks: &mut Checks) -> Option<Self> {
        let id = OPERATIONS.id("name", name, checks)?;
        match id.strip_prefix(BY_REQUEST) {
            Some(request) => Some(Self::Request(request.to_owned())),
            None => checks.parse("name", id).map(Self::Id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        let mut checks = Checks::default();
        assert_eq!(VMS.name("web"), "vms/web");
        assert_eq!(VMS.id("name", "vms/web", &mut checks), Some("web"));
        checks.finish().unwrap();
        for name in ["", "vms", "vms/", "web", "images/web", "/vms/web"] {
            let mut checks = Checks::default();
            assert_eq!(VMS.id("name", name, &mut checks), None, "{name:?}");
            assert!(checks.finish().is_err());
        }
    }

    #[test]
    fn an_operation_is_named_by_itself_or_by_its_request() {
        let id = OperationId::generate();
        let mut checks = Checks::default();
        let by_id = OperationName::parse(&OPERATIONS.name(id), &mut checks);
        assert_eq!(by_id, Some(OperationName::Id(id)));
        let by_request = OperationName::parse("operations/by-request/r", &mut checks);
        assert_eq!(by_request, Some(OperationName::Request("r".to_owned())));
        assert_eq!(OperationName::parse("operations/x", &mut checks), None);
        assert!(checks.finish().is_err());
    }
}
