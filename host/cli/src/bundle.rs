//! What a command needs to know of a bundle besides running it: its program, to read requests, and its names, to show
//! decisions.

use std::path::Path;

use selvedge_format::DecodeError;
use selvedge_format::container::{Container, Kind, verify_id};
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::program::{self, ProgramV1};
use selvedge_format::terms::{self, TermsV1};

use crate::error::{CliError, Exit};
use crate::file;

/// A bundle file, with what was read of it.
#[derive(Debug)]
pub(crate) struct BundleFile {
    /// The container.
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 of its content.
    pub(crate) id: [u8; 32],
    /// Its feature program.
    pub(crate) program: ProgramV1,
    /// Its names; empty if it has none.
    pub(crate) names: MetaV1,
    /// What its offers promise; empty if it has none.
    pub(crate) terms: TermsV1,
}

impl BundleFile {
    /// Reads a bundle.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let bytes = file::read(path, file::MAX_BYTES)?;
        Self::parse(bytes).map_err(|error| refused("bundle", path, &error))
    }

    /// What is read of a bundle's bytes.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let container = Container::parse(&bytes, Kind::Bundle)?;
        let id = verify_id(&bytes)?;
        let section = container.require(program::TAG, program::VERSION, "feature program")?;
        let program = ProgramV1::decode(&bytes[section.range.clone()])?;
        let names = match container.find(meta::TAG) {
            Some(section) => MetaV1::decode(&bytes[section.range.clone()])?,
            None => MetaV1::default(),
        };
        let terms = match container.find(terms::TAG) {
            Some(section) => TermsV1::decode(&bytes[section.range.clone()])?,
            None => TermsV1 { currency: String::new(), campaigns: Vec::new() },
        };
        Ok(Self { id, program, names, terms, bytes })
    }
}

/// A shared state file.
#[derive(Debug)]
pub(crate) struct SharedFile {
    /// The container.
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 of its content.
    pub(crate) id: [u8; 32],
}

impl SharedFile {
    /// Reads a shared state.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let bytes = file::read(path, file::MAX_BYTES)?;
        let id = Container::parse(&bytes, Kind::SharedState).and_then(|_| verify_id(&bytes));
        let id = id.map_err(|error| refused("shared state", path, &error))?;
        Ok(Self { bytes, id })
    }
}

/// Bytes of a file were refused.
pub(crate) fn refused(what: &str, path: &Path, error: &DecodeError) -> CliError {
    let message = format!("{} is refused as a {what}: {error} [{}]", path.display(), error.code().name());
    CliError::new(Exit::Refused, message).hint(file::hint_for(error.code()))
}

/// An id as people read it.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first digits of an id: enough to tell a few apart.
pub(crate) fn short(id: &[u8]) -> String {
    hex(&id[..id.len().min(6)])
}
