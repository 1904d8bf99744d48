//! What each method needs of its caller.
//!
//! Invariants: every method of the API's descriptors has a rule; one without a rule
//! of its own needs the scope `admin`. Entry points: [`Methods`].

use std::collections::HashMap;

use banger_api::DESCRIPTORS;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::caller::Scope;

/// What a caller needs for a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Not even credentials.
    Nothing,
    /// Credentials, whatever their scopes.
    Credentials,
    /// One of these scopes, or `admin`.
    OneOf(&'static [Scope]),
}

/// A method that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// Which one of all it is.
    pub(crate) index: usize,
    /// The full name of its service.
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) need: Need,
}

/// The methods that the server has, by path.
#[derive(Debug)]
pub(crate) struct Methods(HashMap<String, Method>);

const ADMIN: Need = Need::OneOf(&[]);
const IMAGES: Need = Need::OneOf(&[Scope::Images]);
/// Whoever makes machines must know of what.
const SEE_IMAGES: Need = Need::OneOf(&[Scope::Images, Scope::OwnVms]);
const VMS: Need = Need::OneOf(&[Scope::OwnVms]);
/// Operations are everybody's own.
const ANYBODY: Need = Need::Credentials;

impl Methods {
    /// Those of the API, of health and of reflection.
    pub(crate) fn of_the_api() -> Self {
        let reflections = [
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let sets = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let mut methods = HashMap::new();
        for set in sets.into_iter().chain(reflections) {
            // they are this build's own: a test reads them
            let set = FileDescriptorSet::decode(set).unwrap_or_default();
            for (service, name) in names(&set) {
                let need = rule(&service, &name).unwrap_or(ADMIN);
                let method = Method {
                    index: methods.len(),
                    need,
                    service,
                    name,
                };
                let path = format!("/{}/{}", method.service, method.name);
                methods.entry(path).or_insert(method);
            }
        }
        Self(methods)
    }

    /// The method with that path.
    pub(crate) fn find(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }

    /// All of them, in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<&Method> {
        let mut all: Vec<&Method> = self.0.values().collect();
        all.sort_by_key(|method| method.index);
        all
    }
}

/// The methods of a set, each with its service's full name.
fn names(set: &FileDescriptorSet) -> Vec<(String, String)> {
    let services = set.file.iter().flat_map(|file| {
        let package = file.package();
        file.service.iter().map(move |one| (package, one))
    });
    let methods = services.flat_map(|(package, service)| {
        let full = format!("{package}.{}", service.name());
        let named = move |method: &prost_types::MethodDescriptorProto| {
            (full.clone(), method.name().to_owned())
        };
        service.method.iter().map(named)
    });
    methods.collect()
}

/// What a method needs; none when nobody said so.
fn rule(service: &str, method: &str) -> Option<Need> {
    let reads = method.starts_with("Get") || method.starts_with("List");
    Some(match service {
        "grpc.health.v1.Health" => Need::Nothing,
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
            ANYBODY
        }
        // files of the host, and what is everybody's
        "banger.v1.ImageService" if matches!(method, "RegisterImage" | "PruneImageCache") => ADMIN,
        "banger.v1.ImageService" if matches!(method, "ReadImageFile" | "DiffImages") => SEE_IMAGES,
        "banger.v1.ImageService" | "banger.v1.KernelService" if reads => SEE_IMAGES,
        "banger.v1.ImageService" | "banger.v1.KernelService" | "banger.v1.UploadService" => IMAGES,
        "banger.v1.VmService"
        | "banger.v1.ExecService"
        | "banger.v1.FileService"
        | "banger.v1.PortService"
        | "banger.v1.SessionService"
        | "banger.v1.SnapshotService"
        | "banger.v1.VolumeService"
        | "banger.v1.EventService" => VMS,
        "banger.v1.OperationService" => ANYBODY,
        "banger.v1.SystemService" if reads => ANYBODY,
        "banger.v1.SystemService" => ADMIN,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services;

    #[test]
    fn every_method_of_every_service_has_a_rule() {
        let methods = Methods::of_the_api();
        let all = methods.all();
        for (number, method) in all.iter().enumerate() {
            assert_eq!(method.index, number);
            let (service, name) = (&method.service, &method.name);
            assert!(rule(service, name).is_some(), "{service}/{name}");
        }
        for service in services::NAMES {
            assert!(all.iter().any(|one| one.service == service), "{service}");
        }
        assert!(methods.find("/banger.v1.VmService/CreateVm").is_some());
        assert!(methods.find("/banger.v1.VmService/Create").is_none());
    }

    #[test]
    fn only_health_is_open_and_changes_of_images_need_their_scope() {
        let methods = Methods::of_the_api();
        for method in methods.all() {
            let is_open = method.need == Need::Nothing;
            assert_eq!(is_open, method.service == "grpc.health.v1.Health");
        }
        let need = |path| methods.find(path).unwrap().need;
        assert_eq!(need("/banger.v1.ImageService/PullImage"), IMAGES);
        assert_eq!(need("/banger.v1.ImageService/ListImages"), SEE_IMAGES);
        assert_eq!(need("/banger.v1.ExecService/AttachExec"), VMS);
    }
}
