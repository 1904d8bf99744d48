//! `banger image save`.

use std::{fs::File, io, os::fd::AsFd as _, sync::Arc};

use banger_core::{
    domain::Selector,
    image::{SaveError, SaveFormat, SaveOutput, SaveRequest},
};
use camino::Utf8PathBuf;

use crate::{context::Context, error::CliError, output::SavedOutput, terminal::is_terminal};

const STDOUT: &str = "standard output";

pub(in crate::commands) async fn save(
    context: &Context,
    image: &Selector,
    format: SaveFormat,
    file: Option<Utf8PathBuf>,
) -> Result<(), CliError> {
    let output = match &file {
        Some(file) => SaveOutput::File(file.clone()),
        None => standard_output()?,
    };
    let request = SaveRequest { format, output };
    let saved = context.services.images.save(image, request).await;
    let saved = saved.map_err(|error| match error {
        SaveError::Output(source) if file.is_none() => CliError::Output {
            stream: STDOUT,
            source,
        },
        error => error.into(),
    })?;
    if saved.sockets != 0 {
        let count = saved.sockets;
        let text = format!("{count} sockets were left out: archives cannot hold them");
        context.note(&text).await?;
    }
    match file {
        // standard output has the archive
        None => Ok(()),
        Some(file) => {
            let output = SavedOutput::new(&saved, &file);
            context.print(&output, || format!("{file}\n")).await
        }
    }
}

fn standard_output() -> Result<SaveOutput, CliError> {
    let stdout = io::stdout();
    if is_terminal(&stdout) {
        return Err(CliError::Usage {
            message: "an archive is not written to a terminal".to_owned(),
            hint: Some("name a file with --output, or redirect standard output".to_owned()),
        });
    }
    let owned = stdout.as_fd().try_clone_to_owned();
    let owned = owned.map_err(|source| CliError::Output {
        stream: STDOUT,
        source,
    })?;
    Ok(SaveOutput::Stream(Arc::new(File::from(owned))))
}
