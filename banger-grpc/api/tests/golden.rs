//! What was once encoded is decoded for ever: committed instances of every message.
//!
//! An instance is never written anew. What it says follows from the descriptors alone:
//! each field has the one value that belongs to it. A field that no instance has yet
//! gets one more file, with `BANGER_CODEGEN=golden`.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use banger_api::DESCRIPTORS;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

/// Deepest nesting of what is made.
const DEPTH: usize = 4;

const HOW: &str = "`BANGER_CODEGEN=golden cargo test --package banger-api --test golden` adds what is missing; \
     what is there stays as it is";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The messages of the API by their names within it.
fn messages() -> BTreeMap<String, MessageDescriptor> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let all = pool.all_messages();
    let own = all.filter(|one| one.package_name() == "banger.v1" && !one.is_map_entry());
    own.map(|one| (short(&one), one)).collect()
}

fn short(message: &MessageDescriptor) -> String {
    message.full_name().replacen("banger.v1.", "", 1)
}

/// The one value of a field that is no message, list or map.
fn scalar(field: &FieldDescriptor, kind: &Kind) -> Value {
    let number = field.number();
    match kind {
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String(field.name().to_owned()),
        Kind::Bytes => Value::Bytes(field.name().to_owned().into()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(-i32::try_from(number).unwrap()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(-i64::from(number)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(number) << 33),
        Kind::Float => Value::F32(0.5),
        Kind::Double => Value::F64(0.5),
        Kind::Enum(of) => {
            let numbers = of.values().map(|value| value.number());
            Value::EnumNumber(numbers.filter(|number| *number != 0).min().unwrap())
        }
        Kind::Message(_) => unreachable!("a message is no scalar"),
    }
}

/// An instance with every field, and of what excludes each other the one with that
/// number, or the last.
fn make(of: &MessageDescriptor, variant: usize, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        let chosen = field.containing_oneof().is_none_or(|oneof| {
            let mut numbers: Vec<u32> = oneof.fields().map(|one| one.number()).collect();
            numbers.sort_unstable();
            numbers[variant.min(numbers.len() - 1)] == field.number()
        });
        let kind = field.kind();
        if chosen && (depth != 0 || !matches!(kind, Kind::Message(_))) {
            message.set_field(&field, value(&field, depth));
        }
    }
    message
}

fn value(field: &FieldDescriptor, depth: usize) -> Value {
    let one = |field: &FieldDescriptor| match field.kind() {
        Kind::Message(of) => Value::Message(make(&of, 0, depth.saturating_sub(1))),
        kind => scalar(field, &kind),
    };
    if let Some(entry) = field.kind().as_message().filter(|_| field.is_map()) {
        let key = MapKey::String(field.name().to_owned());
        let value = one(&entry.map_entry_value_field());
        return Value::Map([(key, value)].into());
    }
    if field.is_list() {
        return Value::List(vec![one(field), one(field)]);
    }
    one(field)
}

/// Fails unless all that the message has is as its fields want it.
fn check(message: &DynamicMessage, whole: &str) {
    assert_eq!(
        message.unknown_fields().count(),
        0,
        "{whole}: a field is not there any more"
    );
    for (field, value) in message.fields() {
        let of = |field: &FieldDescriptor, value: &Value| match value {
            Value::Message(inner) => check(inner, whole),
            value => assert_eq!(
                *value,
                scalar(field, &field.kind()),
                "{whole}: {} is not what it was",
                field.full_name()
            ),
        };
        match value {
            Value::List(items) => {
                for item in items {
                    of(&field, item);
                }
            }
            Value::Map(pairs) => {
                let entry = field.kind();
                let inner = entry.as_message().unwrap().map_entry_value_field();
                for value in pairs.values() {
                    of(&inner, value);
                }
            }
            value => of(&field, value),
        }
    }
}

/// The numbers of the fields that a message has.
fn fields(message: &DynamicMessage) -> BTreeSet<u32> {
    message.fields().map(|(field, _)| field.number()).collect()
}

/// What is committed: for each message its instances, by their numbers.
fn committed() -> BTreeMap<String, BTreeMap<u32, Vec<u8>>> {
    let mut all: BTreeMap<String, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (name, number) = name.rsplit_once('.').unwrap();
        let instances = all.entry(name.to_owned()).or_default();
        instances.insert(number.parse().unwrap(), fs::read(&path).unwrap());
    }
    all
}

/// Adds instances with the fields that none has.
fn add(
    name: &str,
    message: &MessageDescriptor,
    instances: &mut BTreeMap<u32, Vec<u8>>,
    known: &BTreeSet<u32>,
) {
    let mut known = known.clone();
    let variants = message.oneofs().map(|one| one.fields().count());
    for variant in 0..variants.max().unwrap_or(1) {
        let instance = make(message, variant, DEPTH);
        let has = fields(&instance);
        if !instances.is_empty() && has.is_subset(&known) {
            continue;
        }
        known.extend(has);
        let number = instances.last_key_value().map_or(1, |(last, _)| last + 1);
        let bytes = instance.encode_to_vec();
        let path = directory().join(format!("{name}.{number}.bin"));
        assert!(!path.exists(), "an instance is never written anew");
        fs::write(path, &bytes).unwrap();
        instances.insert(number, bytes);
    }
}

#[test]
fn every_message_that_was_ever_encoded_is_decoded_as_it_was() {
    #[expect(clippy::disallowed_methods, reason = "the one switch of the generator")]
    let adds = std::env::var_os("BANGER_CODEGEN").is_some_and(|mode| mode == "golden");
    if adds {
        fs::create_dir_all(directory()).unwrap();
    }
    let (messages, mut committed) = (messages(), committed());
    for name in committed.keys() {
        assert!(messages.contains_key(name), "{name} is not there any more");
    }
    let mut lacking = Vec::new();
    for (name, message) in &messages {
        let mut known = BTreeSet::new();
        let instances = committed.entry(name.clone()).or_default();
        for (number, bytes) in instances.iter() {
            let decoded = DynamicMessage::decode(message.clone(), bytes.as_slice()).unwrap();
            check(&decoded, &format!("{name}.{number}"));
            assert_eq!(
                decoded.encode_to_vec(),
                *bytes,
                "{name}.{number} has other bytes"
            );
            known.extend(fields(&decoded));
        }
        let all: BTreeSet<u32> = message.fields().map(|field| field.number()).collect();
        if instances.is_empty() || !all.is_subset(&known) {
            if adds {
                add(name, message, instances, &known);
            } else {
                let missing: Vec<_> = all.difference(&known).collect();
                lacking.push(format!("{name}: fields {missing:?}"));
            }
        }
    }
    assert!(
        lacking.is_empty(),
        "no instance has {}; {HOW}",
        lacking.join(", ")
    );
}

#[test]
#[should_panic(expected = "is not what it was")]
fn another_value_of_a_field_is_noticed() {
    let message = &messages()["GetVmRequest"];
    let mut instance = make(message, 0, DEPTH);
    instance.set_field_by_name("name", Value::String("other".to_owned()));
    check(&instance, "GetVmRequest");
}

#[test]
#[should_panic(expected = "is not there any more")]
fn a_field_that_was_taken_away_is_noticed() {
    let bytes = make(&messages()["GetVmRequest"], 0, DEPTH).encode_to_vec();
    let without = messages()["GetServerInfoRequest"].clone();
    let decoded = DynamicMessage::decode(without, bytes.as_slice()).unwrap();
    check(&decoded, "GetVmRequest");
}
