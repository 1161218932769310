//! The last good head and its blobs, in one file that is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selvedge_format::container::verify_id;
use selvedge_format::head::{HeadV1, HeadView};

const MAGIC: &[u8; 8] = b"SELVLAST";

/// What was followed when the process ended.
#[derive(Debug, PartialEq)]
pub(super) struct Saved {
    pub(super) head: Vec<u8>,
    pub(super) blobs: Vec<Vec<u8>>,
}

/// One file per channel.
pub(super) fn path(directory: &Path, channel: &str) -> PathBuf {
    directory.join(format!("{channel}.last-good"))
}

pub(super) fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(MAGIC)?;
    for part in std::iter::once(&saved.head).chain(&saved.blobs) {
        file.write_all(&(part.len() as u64).to_le_bytes())?;
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

/// What is saved, if anything is. Every blob is checked against its id, and all that the head names must be there; a kill
/// holds without.
///
/// # Errors
/// There is a file, and it cannot be used.
pub(super) fn read(path: &Path, max_blob: usize) -> Result<Option<(Saved, HeadV1)>, String> {
    const BLOBS: u64 = 4;
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if length > BLOBS * (max_blob as u64 + 64) + (1 << 16) {
        return Err(format!("{length} bytes are too many"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let damaged = || "it is damaged".to_owned();
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (part, after) = after.split_at_checked(length).ok_or_else(damaged)?;
        parts.push(part.to_vec());
        rest = after;
    }
    if !rest.is_empty() || parts.is_empty() {
        return Err(damaged());
    }
    let saved = Saved { head: parts.remove(0), blobs: parts };
    let head = HeadView::parse(&saved.head).map_err(|error| error.to_string())?.head;
    let ids: Result<Vec<_>, _> = saved.blobs.iter().map(|blob| verify_id(blob)).collect();
    let ids = ids.map_err(|error| error.to_string())?;
    if head.killed || head.blobs().all(|blob| ids.contains(&blob.id)) {
        Ok(Some((saved, head)))
    } else {
        Err(damaged())
    }
}
