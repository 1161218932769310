//! Files in and out: bounded reads, whole writes, and errors that name the file and the way out.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use selvedge_format::ErrorCode;

use crate::error::{CliError, Exit};

/// The largest file that is read whole: above every limit of the formats, below what would exhaust a machine.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// Reads a file, or standard input for `-`, of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let source: io::Result<Box<dyn Read>> = match is_stdin(path) {
        true => Ok(Box::new(io::stdin().lock())),
        false => fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    let mut bytes = Vec::new();
    let read = source.and_then(|source| source.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|error| cannot_read(path, &error))?;
    if bytes.len() as u64 > limit {
        let message = format!("{} is larger than {limit} bytes, the most that is read of such a file", path.display());
        return Err(CliError::new(Exit::Refused, message));
    }
    Ok(bytes)
}

/// Reads a text that a person wrote.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    const MOST: u64 = 1 << 24;
    String::from_utf8(read(path, MOST)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::new(Exit::Usage, format_args!("{} is not UTF-8 from byte {at} on", path.display()))
    })
}

/// Writes a file whole, making its directory.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let made = directory.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, bytes)).map_err(|error| CliError::io("write", path, &error))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// A file cannot be read.
pub(crate) fn cannot_read(path: &Path, error: &io::Error) -> CliError {
    let refused = CliError::io("read", path, error);
    match error.kind() {
        // A mistyped name is the caller's mistake, a broken disk is not.
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => refused.or_exit(Exit::Usage),
        _ => refused,
    }
}

/// What to do about bytes that were refused.
pub(crate) const fn hint_for(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Truncated | ErrorCode::ChecksumMismatch | ErrorCode::IdMismatch => {
            "the file was cut short or damaged: copy it again, or make it again"
        }
        ErrorCode::BadMagic | ErrorCode::WrongKind => "the file is of another kind: `selvedge inspect` says what it is",
        ErrorCode::UnsupportedVersion | ErrorCode::UnknownSection => {
            "the file is of another version of Selvedge: use that version, or make the file again with this one"
        }
        ErrorCode::TooLarge => "make a smaller one: docs/format lists the limits",
        _ => "the file was written wrongly: make it again with this version of Selvedge",
    }
}
