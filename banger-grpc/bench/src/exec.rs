//! How fast a command's input and output flow through the service: zeros into `cat`
//! and out of `head`.

use banger_api::v1::{
    Attach, AttachExecRequest, CloseStdin, CreateExecRequest, Exit, Stdin,
    attach_exec_request::Message as Sent, attach_exec_response::Message as Told,
    exec_service_client::ExecServiceClient, exit::Kind,
};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{Result, Samples, Server, samples::per_second};

const MEBIBYTE: u64 = 1 << 20;
/// Most bytes of input in one message.
const PIECE: u32 = 65_536;

/// How much flows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The machine in which commands run, as vms/NAME.
    pub vm: String,
    /// MiB each way.
    pub mebibytes: u16,
}

/// `in` and `out` in MB/s, once each, from the request for a command to its end.
pub async fn measure(server: &Server, plan: &Plan) -> Result<Samples> {
    let channel = server.ready().await?;
    let bytes = u64::from(plan.mebibytes) * MEBIBYTE;
    let mut samples = Samples::default();
    let begun = Instant::now();
    let (exit, _) = run(&channel, &plan.vm, "cat > /dev/null", Some(bytes)).await?;
    succeeded(exit)?;
    samples.add("in", per_second(bytes, begun.elapsed()) / 1e6);
    let begun = Instant::now();
    // in bytes: not every head knows M
    let script = format!("head -c {bytes} /dev/zero");
    let (exit, output) = run(&channel, &plan.vm, &script, None).await?;
    succeeded(exit)?;
    if output != bytes {
        return Err(format!("{output} bytes of output instead of {bytes}").into());
    }
    samples.add("out", per_second(bytes, begun.elapsed()) / 1e6);
    Ok(samples)
}

/// Runs a command with so many zeros as its input, if any; answers how it ended and
/// how much it wrote.
async fn run(channel: &Channel, vm: &str, script: &str, input: Option<u64>) -> Result<(Exit, u64)> {
    let mut execs = ExecServiceClient::new(channel.clone());
    let request = CreateExecRequest {
        request_id: Uuid::now_v7().to_string(),
        vm: vm.to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        without_stdin: input.is_none(),
        ..CreateExecRequest::default()
    };
    let name = execs.create_exec(request).await?.into_inner().name;
    let attach = Sent::Attach(Attach {
        name,
        ..Attach::default()
    });
    let sent = stream::iter([attach]).chain(stream::iter(input.into_iter().flat_map(zeros)));
    let sent = sent.map(|message| AttachExecRequest {
        message: Some(message),
    });
    // whoever ends its side goes away
    let sent = sent.chain(stream::pending());
    let mut told = execs.attach_exec(sent).await?.into_inner();
    let mut output = 0;
    while let Some(message) = told.message().await? {
        match message.message {
            Some(Told::Output(piece)) => output += piece.data.len() as u64,
            Some(Told::Exit(exit)) => return Ok((exit, output)),
            _ => {}
        }
    }
    Err("a command without an end".into())
}

/// So many zeros, and the end.
fn zeros(bytes: u64) -> impl Iterator<Item = Sent> {
    let piece = bytes::Bytes::from(vec![0; PIECE as usize]);
    let pieces = (0..bytes / u64::from(PIECE)).map(move |number| {
        Sent::Stdin(Stdin {
            offset: number * u64::from(PIECE),
            data: piece.clone(),
        })
    });
    pieces.chain([Sent::CloseStdin(CloseStdin {})])
}

fn succeeded(exit: Exit) -> Result<()> {
    match exit.kind {
        Some(Kind::Code(0)) => Ok(()),
        _ => Err(format!("a command ended with {exit:?}").into()),
    }
}
