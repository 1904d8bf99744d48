//! Requests of the right form and of any content, to every method: each is answered,
//! and each error has a reason that fits its code.

use std::time::Duration;

use banger_api::{
    DESCRIPTORS, reason,
    v1::{GetServerInfoRequest, ServerPhase, system_service_client::SystemServiceClient},
};
use banger_grpc::server::Limits;
use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, MethodDescriptor, Value,
};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use super::harness::{Running, reason as reason_of};

/// Requests for each method.
const ROUNDS: usize = 60;
/// Deepest nesting of what is made up.
const DEPTH: usize = 6;
/// How long a stream is listened to.
const LISTENING: Duration = Duration::from_millis(300);

/// Texts that lead further than random ones.
const TEXTS: [&str; 23] = [
    "",
    "vms/a",
    "images/small",
    "kernels/linux",
    "operations/by-request/01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a10",
    "operations/01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a10",
    "vms/01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a10/execs/a",
    "01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a10",
    "01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a11",
    "127.0.0.1:1/a:b",
    "volumes/data",
    "oci:/nowhere:tag",
    "dir:/nowhere",
    "/nowhere",
    "state=RUNNING AND labels.a!=\"b c\"",
    "AND = \"",
    "KEY=VALUE",
    "18446744073709551615",
    "-1",
    "qemu",
    "\0",
    "../../etc/passwd",
    "\u{202e}é𝄞",
];

/// Numbers that repeat from run to run (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides as u64).unwrap()
    }

    /// A number of any size, often one at an end.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX >> 1,
            4 => self.roll() % 100_000,
            _ => self.roll(),
        }
    }

    fn text(&mut self) -> String {
        match self.below(12) {
            0 => "x".repeat(self.below(400)),
            _ => TEXTS[self.below(TEXTS.len())].to_owned(),
        }
    }

    fn message(&mut self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        for field in of.fields() {
            if self.below(4) != 0 && depth != 0 {
                let value = self.field(&field, depth - 1);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            let pairs = (0..self.below(4)).map(|_| {
                let (key, value) = (self.text(), self.text());
                (MapKey::String(key), Value::String(value))
            });
            return Value::Map(pairs.collect());
        }
        if field.is_list() {
            let many = if self.below(20) == 0 { 1100 } else { 3 };
            let items = (0..self.below(many)).map(|_| self.value(&field.kind(), depth));
            return Value::List(items.collect());
        }
        self.value(&field.kind(), depth)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        reason = "any number will do"
    )]
    fn value(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.below(2) == 0),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number() as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::Float => Value::F32(self.number() as f32),
            Kind::Double => Value::F64(self.number() as f64),
            Kind::Enum(of) => Value::EnumNumber(self.choice(of)),
            Kind::Message(of) => Value::Message(self.message(of, depth)),
        }
    }

    fn choice(&mut self, of: &EnumDescriptor) -> i32 {
        let known: Vec<i32> = of.values().map(|value| value.number()).collect();
        match self.below(5) {
            0 => 4242,
            _ => known[self.below(known.len())],
        }
    }
}

/// Fails unless the error says why in a form for programs.
fn check(method: &MethodDescriptor, sent: &DynamicMessage, status: &Status) {
    let what = format!("{}: {sent:?}: {status:?}", method.full_name());
    assert!(
        !matches!(status.code(), Code::Unknown | Code::Internal),
        "{what}"
    );
    assert!(
        status.message().len() <= banger_api::MAX_ERROR_MESSAGE,
        "{what}"
    );
    let named = reason::of_name(&reason_of(status)).expect("a reason of the proto");
    assert_eq!(reason::code(named), status.code(), "{what}");
}

/// Messages as their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

/// Sends it as a stream of one; what comes back is listened to for a moment, since
/// some calls may wait or watch.
async fn send(channel: Channel, method: &MethodDescriptor, sent: &DynamicMessage) {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let request = Request::new(tokio_stream::iter([Bytes::from(sent.encode_to_vec())]));
    let answering = grpc.streaming(request, path.parse().unwrap(), Raw);
    let mut stream = match timeout(LISTENING, answering).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return check(method, sent, &status),
        Err(_) => return,
    };
    while let Ok(next) = timeout(LISTENING, stream.message()).await {
        match next {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(status) => return check(method, sent, &status),
        }
    }
}

/// Every method of the API; the one after which none begins anything is the last.
pub(super) fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let services = pool
        .services()
        .filter(|one| one.package_name() == "banger.v1");
    let methods = services.flat_map(|one| one.methods().collect::<Vec<_>>());
    let (last, mut methods): (Vec<_>, Vec<_>) = methods.partition(|one| one.name() == "Drain");
    methods.extend(last);
    methods
}

#[tokio::test]
async fn a_deadline_of_a_millisecond_breaks_no_method() {
    let running = Running::serving(Limits::default()).await;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for method in methods() {
        for _ in 0..5 {
            let sent = dice.message(&method.input(), DEPTH);
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let mut grpc = Grpc::new(running.channel.clone());
            grpc.ready().await.unwrap();
            let mut request = Request::new(tokio_stream::iter([Bytes::from(sent.encode_to_vec())]));
            request.set_timeout(Duration::from_millis(1));
            let answer = grpc.streaming(request, path.parse().unwrap(), Raw).await;
            let code = answer.err().map_or(Code::Ok, |status| status.code());
            assert!(
                !matches!(code, Code::Unknown | Code::Internal),
                "{}",
                method.full_name()
            );
        }
    }
    let calm = GetServerInfoRequest {};
    let mut system = SystemServiceClient::new(running.channel.clone());
    let phase = system
        .get_server_info(calm)
        .await
        .unwrap()
        .into_inner()
        .phase();
    // the last method may have come to that
    assert!(matches!(
        phase,
        ServerPhase::Serving | ServerPhase::Draining
    ));
}

#[tokio::test]
async fn every_method_answers_whatever_is_asked() {
    let running = Running::serving(Limits::default()).await;
    let methods = methods();
    assert!(20 < methods.len());
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for method in &methods {
        for _ in 0..ROUNDS {
            let sent = dice.message(&method.input(), DEPTH);
            send(running.channel.clone(), method, &sent).await;
        }
    }
}
