//! Channels as files: for a web server, an object store or a CDN that serves them as they are.
//!
//! ```text
//! channels/<channel>/head
//! channels/<channel>/history/<sequence, 20 digits>
//! blobs/<id, hex>
//! ```
//!
//! Every file appears whole: it is written beside its place, synced, and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use selvedge_format::container::ContentId;
use selvedge_format::head::{HeadView, MAX_CHANNEL, is_name};

use crate::channel::hex;
use crate::store::{ChannelStore, StoreError};

/// A directory of channels and blobs. One process may write to it at a time.
#[derive(Clone, Debug)]
pub struct DirectoryStore(PathBuf);

impl DirectoryStore {
    /// The directory `root`, which need not be there yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    fn channel(&self, channel: &str) -> Result<PathBuf, StoreError> {
        // A name is a path here: it is checked once more, whoever checked it before.
        if is_name(channel, MAX_CHANNEL) && !channel.starts_with('.') {
            return Ok(self.0.join("channels").join(channel));
        }
        Err(StoreError::Io(format!("{channel:?} is not the name of a channel that a directory can hold")))
    }

    fn blob_path(&self, id: &ContentId) -> PathBuf {
        self.0.join("blobs").join(hex(id))
    }
}

impl ChannelStore for DirectoryStore {
    fn channels(&self) -> Result<Vec<String>, StoreError> {
        let directory = self.0.join("channels");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &directory, &error)),
        };
        let mut channels = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("read", &directory, &error))?;
            let name = entry.file_name();
            channels.extend(name.to_str().filter(|name| self.channel(name).is_ok()).map(str::to_owned));
        }
        channels.sort_unstable();
        Ok(channels)
    }

    fn head(&self, channel: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.channel(channel)?.join("head"))
    }

    fn put_head(&self, channel: &str, sequence: u64, head: &[u8]) -> Result<(), StoreError> {
        let directory = self.channel(channel)?;
        if let Some(newest) = self.head(channel)? {
            let newest = HeadView::parse(&newest)
                .map_err(|error| StoreError::Corrupt(format!("{}: {error}", directory.join("head").display())))?;
            if sequence <= newest.head.sequence {
                return Err(StoreError::Conflict { newest: newest.head.sequence });
            }
        }
        write(&directory.join("history").join(format!("{sequence:020}")), head)?;
        write(&directory.join("head"), head)
    }

    fn history(&self, channel: &str, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let directory = self.channel(channel)?.join("history");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &directory, &error)),
        };
        let newest = self.head(channel)?;
        let mut paths: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(|error| failed("read", &directory, &error))?;
        paths.sort_unstable();
        let mut heads = Vec::new();
        // A sequence above the head's was written, and never became the head.
        let mut published = false;
        for path in paths.iter().rev() {
            let Some(head) = read(path)? else { continue };
            published |= newest.as_ref() == Some(&head);
            if published && heads.len() < most {
                heads.push(head);
            }
        }
        Ok(heads)
    }

    fn blob(&self, id: &ContentId) -> Result<Option<Bytes>, StoreError> {
        Ok(read(&self.blob_path(id))?.map(Bytes::from))
    }

    fn blob_len(&self, id: &ContentId) -> Result<Option<u64>, StoreError> {
        let path = self.blob_path(id);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    fn put_blob(&self, id: &ContentId, bytes: &[u8]) -> Result<(), StoreError> {
        if self.blob_len(id)? == Some(bytes.len() as u64) {
            return Ok(());
        }
        write(&self.blob_path(id), bytes)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let beside = path.with_extension("new");
    let written = fs::create_dir_all(directory)
        .and_then(|()| File::create(&beside))
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|error| failed("write", path, &error))
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> StoreError {
    let message = format!("cannot {doing} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(message),
        _ => StoreError::Io(message),
    }
}
