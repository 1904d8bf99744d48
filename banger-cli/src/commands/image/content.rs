//! `banger image ls`, `cat` and `diff`: what is on an image's disk.

use banger_core::{
    domain::Selector,
    image::{DiskStream, ListImageFiles},
};

use crate::{
    context::Context,
    error::CliError,
    exit,
    output::{DifferenceOutput, EntryOutput, difference_lines, entry_lines},
};

pub(in crate::commands) async fn ls(
    context: &Context,
    image: &Selector,
    path: String,
    recursive: bool,
) -> Result<(), CliError> {
    let request = ListImageFiles {
        path: path.into_bytes(),
        recursive,
        after: Vec::new(),
    };
    let listing = context.services.images.list_files(image, request).await?;
    let entries = all(listing).await?;
    let output: Vec<EntryOutput> = entries.iter().map(EntryOutput::from).collect();
    context.print(&output, || entry_lines(&entries)).await
}

pub(in crate::commands) async fn cat(
    context: &Context,
    image: &Selector,
    path: String,
) -> Result<(), CliError> {
    let images = &context.services.images;
    let mut file = images.read_file(image, path.into_bytes(), 0).await?;
    while let Some(piece) = file.content.next().await? {
        context.console.write_stdout(&piece).await?;
    }
    Ok(())
}

/// Answers 0 when the disks are the same, 1 when they differ, as diff(1) does.
pub(in crate::commands) async fn diff(
    context: &Context,
    one: &Selector,
    other: &Selector,
) -> Result<u8, CliError> {
    let comparing = context.services.images.diff(one, other, Vec::new());
    let found = all(comparing.await?).await?;
    let output: Vec<DifferenceOutput> = found.iter().map(DifferenceOutput::from).collect();
    context.print(&output, || difference_lines(&found)).await?;
    Ok(if found.is_empty() {
        exit::SUCCESS
    } else {
        exit::DIFFERENT
    })
}

/// All of them: their widths and the form of JSON need the last one.
async fn all<T>(mut stream: DiskStream<T>) -> Result<Vec<T>, CliError> {
    let mut all = Vec::new();
    while let Some(one) = stream.next().await? {
        all.push(one);
    }
    Ok(all)
}
