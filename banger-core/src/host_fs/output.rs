//! Where somebody wants what is made: a file, or a stream.
//!
//! Invariants: a file appears whole, by rename, and takes nobody's place; a stream gets
//! what there is. Entry points: [`Output`].

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{PathError, StagedFile};
use crate::step::reached;

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 18;

/// Where something goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// A file, which must not exist.
    File(Utf8PathBuf),
    /// A pipe, or a file that is open already.
    Stream(Arc<File>),
}

/// Why it did not get there.
#[derive(Debug)]
pub enum OutputProblem {
    /// There is something in the file's place.
    Taken(Utf8PathBuf),
    /// Somebody else writes the same file.
    Busy(Utf8PathBuf),
    /// The file cannot be made, or not be given its name.
    File(PathError),
    /// It does not take what is written.
    Write(io::Error),
}

impl Output {
    /// Writes it. Holds up its thread.
    pub fn put<T, E>(
        &self,
        failed: impl Fn(OutputProblem) -> E,
        write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Stream(stream) => collect(stream.as_ref(), &failed, write),
            Self::File(path) => {
                let staged = stage(path).map_err(&failed)?;
                let written = collect(staged.file(), &failed, write)?;
                reached("wrote an archive");
                let published = staged.publish();
                published.map_err(|error| failed(OutputProblem::File(error)))?;
                Ok(written)
            }
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        match self {
            Self::File(path) => path,
            Self::Stream(_) => Utf8Path::new("a stream"),
        }
    }
}

fn collect<T, E>(
    file: &File,
    failed: &impl Fn(OutputProblem) -> E,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut writer = BufWriter::with_capacity(BUFFER, file);
    let written = write(&mut writer)?;
    let flushed = writer.flush();
    flushed.map_err(|error| failed(OutputProblem::Write(error)))?;
    Ok(written)
}

fn stage(path: &Utf8PathBuf) -> Result<StagedFile, OutputProblem> {
    if path.symlink_metadata().is_ok() {
        return Err(OutputProblem::Taken(path.clone()));
    }
    let staged = StagedFile::create(path).map_err(OutputProblem::File)?;
    staged.ok_or_else(|| OutputProblem::Busy(path.clone()))
}

impl From<Utf8PathBuf> for Output {
    fn from(path: Utf8PathBuf) -> Self {
        Self::File(path)
    }
}

impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Stream(one), Self::Stream(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Output {}

impl fmt::Display for Output {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().fmt(to)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let output = Output::from(root.join("file"));
        let put = |text: &str, end: Result<u8, OutputProblem>| {
            output.put(
                |problem| problem,
                |writer| {
                    writer
                        .write_all(text.as_bytes())
                        .map_err(OutputProblem::Write)?;
                    end
                },
            )
        };
        let given_up = OutputProblem::Write(io::ErrorKind::Interrupted.into());
        assert!(matches!(
            put("some", Err(given_up)),
            Err(OutputProblem::Write(_))
        ));
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
        assert_eq!(put("whole", Ok(7)).unwrap(), 7);
        assert_eq!(fs::read_to_string(output.path()).unwrap(), "whole");
        assert!(matches!(put("other", Ok(7)), Err(OutputProblem::Taken(_))));
        assert_eq!(fs::read_to_string(output.path()).unwrap(), "whole");
        assert_eq!(fs::read_dir(root).unwrap().count(), 1);

        let stream = File::create(root.join("stream")).unwrap();
        let stream = Output::Stream(Arc::new(stream));
        let written = stream.put(
            |problem| problem,
            |writer| writer.write_all(b"some").map_err(OutputProblem::Write),
        );
        written.unwrap();
        assert_eq!(fs::read_to_string(root.join("stream")).unwrap(), "some");
        assert_eq!(stream.to_string(), "a stream");
    }
}
