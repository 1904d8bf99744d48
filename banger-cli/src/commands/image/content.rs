//! `banger image ls`, `cat` and `diff`: what is on an image's disk.

use banger_core::{
    disk::{DiskError, DiskReader, differences},
    domain::Selector,
};
use camino::Utf8PathBuf;
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    context::Context,
    error::CliError,
    exit,
    output::{DifferenceOutput, EntryOutput, difference_lines, entry_lines},
};

/// Pieces of a file that wait to be written.
const PIECES: usize = 4;

pub(in crate::commands) async fn ls(
    context: &Context,
    image: &Selector,
    path: String,
    recursive: bool,
) -> Result<(), CliError> {
    let disk = disk(context, image).await?;
    let listed = off_thread(move || {
        let reader = DiskReader::open(&disk)?;
        reader.list(path.as_bytes(), recursive)
    });
    let entries = listed.await?;
    let output: Vec<EntryOutput> = entries.iter().map(EntryOutput::from).collect();
    context.print(&output, || entry_lines(&entries)).await
}

pub(in crate::commands) async fn cat(
    context: &Context,
    image: &Selector,
    path: String,
) -> Result<(), CliError> {
    let disk = disk(context, image).await?;
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(PIECES);
    let reading = off_thread(move || {
        let reader = DiskReader::open(&disk)?;
        // nobody takes pieces any more when the output is closed
        reader.read(path.as_bytes(), |bytes| {
            sender.blocking_send(bytes.to_vec()).is_ok()
        })
    });
    let writing = async {
        while let Some(piece) = pieces.recv().await {
            if let Err(error) = context.console.write_stdout(&piece).await {
                pieces.close();
                return Err(error);
            }
        }
        Ok(())
    };
    let (read, written) = tokio::join!(reading, writing);
    written.and(read)
}

/// Answers 0 when the disks are the same, 1 when they differ, as diff(1) does.
pub(in crate::commands) async fn diff(
    context: &Context,
    one: &Selector,
    other: &Selector,
) -> Result<u8, CliError> {
    let (one, other) = (disk(context, one).await?, disk(context, other).await?);
    let compared = off_thread(move || {
        let (one, other) = (DiskReader::open(&one)?, DiskReader::open(&other)?);
        differences(&one, &other)
    });
    let found = compared.await?;
    let output: Vec<DifferenceOutput> = found.iter().map(DifferenceOutput::from).collect();
    context.print(&output, || difference_lines(&found)).await?;
    Ok(if found.is_empty() {
        exit::SUCCESS
    } else {
        exit::DIFFERENT
    })
}

async fn disk(context: &Context, image: &Selector) -> Result<Utf8PathBuf, CliError> {
    let image = context.services.images.show(image).await?;
    context.services.disk(image)
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, CliError> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => match error.try_into_panic() {
            Ok(cause) => std::panic::resume_unwind(cause),
            // the runtime ends: this future is not polled again
            Err(_) => std::future::pending().await,
        },
    }
}
