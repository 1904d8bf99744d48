//! What every command has at hand.
//!
//! Purpose: services, streams and progress together, and the one way to print.
//! Invariants: progress is taken away before anything else is written.
//! Entry points: [`Context`].

use std::collections::BTreeMap;

use banger_core::domain::{ImageId, ImageName};
use serde::Serialize;

use crate::{
    console::Console,
    error::{CliError, Report},
    progress::Progress,
    services::Services,
};

/// How results and failures are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// As JSON.
    pub json: bool,
    /// Without notes.
    pub quiet: bool,
}

/// What every command has at hand.
#[derive(Debug)]
pub struct Context {
    /// The services.
    pub services: Services,
    /// The streams.
    pub console: Console,
    /// Where progress goes.
    pub progress: Progress,
    /// How results are written.
    pub style: Style,
}

impl Context {
    /// Prints a result: as JSON, or as the text `human` makes.
    pub async fn print<T: Serialize + Sync>(
        &self,
        result: &T,
        human: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        self.progress.finish();
        print(&self.console, self.style, result, human).await
    }

    /// Says something that is no result.
    pub async fn note(&self, text: &str) -> Result<(), CliError> {
        if self.style.quiet {
            return Ok(());
        }
        self.progress.finish();
        self.console
            .write_stderr(format!("banger: {text}\n").as_bytes())
            .await
    }

    /// Reports a failure that does not end the command.
    pub async fn report(&self, error: &CliError) {
        self.progress.finish();
        report(&self.console, self.style, error).await;
    }

    /// The names of all images.
    pub async fn image_names(&self) -> Result<BTreeMap<ImageId, ImageName>, CliError> {
        let images = self.services.images.list().await?;
        Ok(images
            .into_iter()
            .map(|image| (image.id, image.name))
            .collect())
    }
}

/// Prints a result.
pub async fn print<T: Serialize + Sync>(
    console: &Console,
    style: Style,
    result: &T,
    human: impl FnOnce() -> String,
) -> Result<(), CliError> {
    let text = if style.json {
        let mut text = serde_json::to_string_pretty(result).map_err(CliError::Json)?;
        text.push('\n');
        text
    } else {
        human()
    };
    console.write_stdout(text.as_bytes()).await
}

/// Reports a failure.
pub async fn report(console: &Console, style: Style, error: &CliError) {
    let report = Report::of(error);
    let text = if style.json {
        report.json()
    } else {
        report.human()
    };
    // there is nobody left to tell
    let _unseen = console.write_stderr(text.as_bytes()).await;
}
