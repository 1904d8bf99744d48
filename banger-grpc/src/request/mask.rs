//! Masks: which fields of a message are wanted.
//!
//! Invariants: a mask has no path that its message has not; what is masked is
//! taken apart as bytes, by the descriptors, so that a field that is new needs
//! nothing here. Entry points: [`Mask`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use banger_api::DESCRIPTORS;
use prost::{
    Message,
    bytes::Buf as _,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint},
};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FieldMask, FileDescriptorSet,
    field_descriptor_proto::Label,
};

use super::Checks;

/// Most paths of a mask.
const MAX_PATHS: usize = 256;

/// Every message of the API, by its full name.
static MESSAGES: LazyLock<HashMap<String, DescriptorProto>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let messages = files.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        let named =
            move |message: DescriptorProto| (format!(".{package}.{}", message.name()), message);
        file.message_type.into_iter().map(named)
    });
    messages.collect()
});

/// Which fields of a message are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask(Option<Fields>);

/// Numbers of fields, and what of them is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields(BTreeMap<u32, Mask>);

impl Mask {
    /// What a request says of messages of that name in `banger.v1`; everything when
    /// it says nothing.
    pub(crate) fn parse(
        field: &str,
        mask: Option<&FieldMask>,
        message: &str,
        checks: &mut Checks,
    ) -> Self {
        let Some(mask) = mask else {
            return Self::default();
        };
        if MAX_PATHS < mask.paths.len() {
            checks.violated(field, format!("has more than {MAX_PATHS} paths"));
            return Self::default();
        }
        let mut fields = Fields::default();
        for path in &mask.paths {
            match numbers(path, message) {
                Some(numbers) => fields.add(&numbers),
                None if path == "*" => return Self::default(),
                None => checks.violated(field, format!("{path:?} is no field of {message}")),
            }
        }
        Self(Some(fields))
    }

    /// The message with what is wanted of it.
    pub(crate) fn apply<M: Message + Default>(&self, message: M) -> M {
        let Some(fields) = &self.0 else {
            return message;
        };
        let mut kept = Vec::new();
        // what was just encoded can be taken apart
        drop(fields.keep(&message.encode_to_vec(), &mut kept));
        M::decode(kept.as_slice()).unwrap_or_default()
    }
}

impl Fields {
    fn add(&mut self, path: &[u32]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let known = self.0.entry(*first);
        if rest.is_empty() {
            known.insert_entry(Mask(None));
            return;
        }
        // all of it may be wanted already
        if let Mask(Some(fields)) = known.or_insert_with(|| Mask(Some(Self::default()))) {
            fields.add(rest);
        }
    }

    /// Appends to `kept` what is wanted of an encoded message.
    fn keep(&self, message: &[u8], kept: &mut Vec<u8>) -> Result<(), prost::DecodeError> {
        let mut rest = message;
        while rest.has_remaining() {
            let (number, wire_type) = decode_key(&mut rest)?;
            let wanted = self.0.get(&number);
            if wire_type == WireType::LengthDelimited {
                let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
                let (value, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                match wanted {
                    None => {}
                    Some(Mask(None)) => put(number, value, kept),
                    Some(Mask(Some(fields))) => {
                        let mut part = Vec::new();
                        fields.keep(value, &mut part)?;
                        put(number, &part, kept);
                    }
                }
                continue;
            }
            let value = scalar(wire_type, &mut rest)?;
            if wanted.is_some() {
                encode_key(number, wire_type, kept);
                kept.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

fn put(number: u32, value: &[u8], kept: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, kept);
    encode_varint(value.len() as u64, kept);
    kept.extend_from_slice(value);
}

/// The bytes of a value that is no text, list or message.
fn scalar<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<&'a [u8], prost::DecodeError> {
    let all = *rest;
    match wire_type {
        WireType::ThirtyTwoBit => rest.advance(4.min(all.len())),
        WireType::SixtyFourBit => rest.advance(8.min(all.len())),
        _ => drop(decode_varint(rest)?),
    }
    Ok(&all[..all.len() - rest.len()])
}

/// The numbers of the fields of a path.
fn numbers(path: &str, message: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    let mut inside = Some(format!(".banger.v1.{message}"));
    for name in path.split('.') {
        let message = MESSAGES.get(&inside?)?;
        let field = message.field.iter().find(|field| field.name() == name)?;
        numbers.push(u32::try_from(field.number()).ok()?);
        inside = message_of(field);
    }
    Some(numbers)
}

/// The message that a field is, if it is one and only one.
fn message_of(field: &FieldDescriptorProto) -> Option<String> {
    if field.label() == Label::Repeated {
        return None;
    }
    field.type_name.clone()
}

#[cfg(test)]
mod tests {
    use banger_api::v1::{Lease, Vm, VmSpec};

    use super::*;

    fn parse(paths: &[&str]) -> Result<Mask, crate::fault::Fault> {
        let mask = FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        let mut checks = Checks::default();
        let mask = Mask::parse("read_mask", Some(&mask), "Vm", &mut checks);
        checks.finish().map(|()| mask)
    }

    fn vm() -> Vm {
        Vm {
            name: "vms/web".to_owned(),
            uid: "u".to_owned(),
            generation: u64::MAX,
            create_time: Some(prost_types::Timestamp {
                seconds: -5,
                nanos: 7,
            }),
            spec: Some(VmSpec {
                vcpus: 3,
                memory_bytes: 1 << 40,
                labels: [("a".to_owned(), "b".to_owned())].into(),
                command: vec!["sh".to_owned(), String::new()],
                lease: Some(Lease {
                    on_expiry: 1,
                    ..Lease::default()
                }),
                ..VmSpec::default()
            }),
            ..Vm::default()
        }
    }

    #[test]
    fn what_is_wanted_is_left_and_nothing_else() {
        let mask = parse(&["name", "generation", "spec.labels", "spec.lease.on_expiry"]).unwrap();
        let spec = VmSpec {
            labels: vm().spec.unwrap().labels,
            lease: vm().spec.unwrap().lease,
            ..VmSpec::default()
        };
        let expected = Vm {
            name: vm().name,
            generation: u64::MAX,
            spec: Some(spec),
            ..Vm::default()
        };
        assert_eq!(mask.apply(vm()), expected);
        let spec = parse(&["spec.vcpus", "spec"]).unwrap();
        assert_eq!(spec.apply(vm()).spec, vm().spec);
        let spec = parse(&["spec", "spec.vcpus"]).unwrap();
        assert_eq!(spec.apply(vm()).spec, vm().spec);
        assert_eq!(parse(&[]).unwrap().apply(vm()), Vm::default());
    }

    #[test]
    fn without_a_mask_everything_is() {
        assert_eq!(Mask::default().apply(vm()), vm());
        assert_eq!(parse(&["*"]).unwrap().apply(vm()), vm());
    }

    #[test]
    fn every_path_that_leads_nowhere_is_named() {
        let wrong = [
            "colour",
            "",
            "spec.",
            "name.x",
            "spec.labels.a",
            "spec.command.0",
            "exit.kind",
        ];
        let fault = parse(&wrong).unwrap_err();
        for path in wrong {
            let named = format!("{path:?} is no field of Vm");
            assert!(
                fault.message().contains(&named),
                "{path}: {}",
                fault.message()
            );
        }
        assert!(parse(&vec!["name"; MAX_PATHS + 1]).is_err());
    }
}
