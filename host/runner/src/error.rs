//! What can go wrong, in words: the module, what it was given, or the call itself.

use std::fmt;
use std::io;
use std::path::PathBuf;

use selvedge_format::{DecodeError, DecodeErrorKind, ErrorCode};

/// Place of a refusal because the guest's memory cannot hold the bytes.
const GUEST_MEMORY: &str = "guest memory";

/// A module was refused before it ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// Its file cannot be read.
    #[error("cannot read the guest module {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not WebAssembly, or uses what is switched off here.
    #[error("the guest module does not compile: {0:#}")]
    Compile(wasmtime::Error),
    /// It wants something from its host.
    #[error("the guest module imports {}; a guest imports nothing", .0.join(", "))]
    Imports(Vec<String>),
    /// A name of the ABI is missing, or has another type.
    #[error("the guest module has no `{name}` as ABI version {version} has it: {detail}", version = crate::ABI_VERSION)]
    Export {
        /// The name.
        name: &'static str,
        /// What is there instead.
        detail: String,
    },
    /// It speaks another version of the ABI.
    #[error("the guest module speaks version {found} of the ABI and this host version {expected}; rebuild the older of the two", expected = crate::ABI_VERSION)]
    AbiVersion {
        /// The module's version.
        found: u32,
    },
    /// It cannot be started, for want of memory in most cases.
    #[error("the guest module does not start: {0}")]
    Start(TrapCause),
}

/// A call did not give an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The input was refused; the instance goes on with what it had.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The call broke off; the next one starts anew.
    #[error(transparent)]
    Trapped(#[from] Trap),
    /// No new instance could be started.
    #[error(transparent)]
    Module(#[from] ModuleError),
}

/// What a call was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A bundle to load.
    Bundle,
    /// A shared state to load.
    SharedState,
    /// A request.
    Request,
    /// Rows of features.
    Matrix,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "bundle",
            Self::SharedState => "shared state",
            Self::Request => "request",
            Self::Matrix => "matrix",
        })
    }
}

/// Bytes were refused, by the guest or by this host before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    input: Input,
    number: u16,
    numbers: (u64, u64),
    place: String,
    offset: u64,
}

impl Refusal {
    /// What was refused.
    #[must_use]
    pub const fn input(&self) -> Input {
        self.input
    }

    /// The stable code; `None` if the guest has one that is newer than this host.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.number)
    }

    /// The part of the layout, in the words of its format page.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Where in the place, as [`DecodeError::offset`] has it.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a larger memory would take the bytes ([`RunnerLimits::memory_bytes`](crate::RunnerLimits)).
    #[must_use]
    pub fn is_about_room(&self) -> bool {
        self.place() == GUEST_MEMORY
    }

    pub(crate) fn no_room(input: Input, limit: u64, wanted: u64) -> Self {
        Self::by_host(input, &DecodeError::too_large(GUEST_MEMORY, limit, wanted))
    }

    pub(crate) fn by_host(input: Input, error: &DecodeError) -> Self {
        Self {
            input,
            number: error.code() as u16,
            numbers: error.numbers(),
            place: error.place().to_owned(),
            offset: error.offset() as u64,
        }
    }

    /// Reads the guest's last error: `code u16, zero u16, offset u32, first u64, second u64, place`.
    pub(crate) fn by_guest(input: Input, bytes: &[u8]) -> Option<Self> {
        let (code, rest) = bytes.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (second, place) = rest.split_first_chunk()?;
        Some(Self {
            input,
            number: u16::from_le_bytes(*code),
            numbers: (u64::from_le_bytes(*first), u64::from_le_bytes(*second)),
            place: String::from_utf8_lossy(place).into_owned(),
            offset: u32::from_le_bytes(*offset).into(),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} is refused: {}: ", self.input, self.place)?;
        match (self.code(), self.code().and_then(|code| DecodeErrorKind::from_numbers(code, self.numbers))) {
            (_, Some(kind)) => write!(f, "{kind}")?,
            (Some(code), None) => f.write_str(code.name())?,
            (None, None) => write!(f, "error {} of a guest newer than this host", self.number)?,
        }
        if self.offset != 0 { write!(f, " (at {})", self.offset) } else { Ok(()) }
    }
}

impl std::error::Error for Refusal {}

/// A call broke off.
#[derive(Debug)]
pub struct Trap {
    /// What the guest was given.
    pub input: Input,
    /// Why it stopped.
    pub cause: TrapCause,
    /// Where the request is, if there was one and a directory for it.
    pub saved: Option<SavedRequest>,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest broke off on a {}: {}", self.input, self.cause)?;
        match &self.saved {
            Some(SavedRequest::At(path)) => write!(f, "; the request is saved as {}", path.display()),
            Some(SavedRequest::Failed(path, error)) => {
                write!(f, "; the request could not be saved as {}: {error}", path.display())
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trap {}

/// Why a call broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrapCause {
    /// It did more work than allowed.
    #[error("it used up its {limit} units of fuel")]
    OutOfFuel {
        /// The fuel it was given.
        limit: u64,
    },
    /// It asked for more memory than allowed.
    #[error("it asked for {wanted} bytes of memory, above the limit of {limit}")]
    OutOfMemory {
        /// The limit in force, bytes.
        limit: usize,
        /// The size of memory that it asked for, bytes.
        wanted: usize,
    },
    /// WebAssembly stopped it: an unreachable instruction, an access outside of memory, a division by zero.
    #[error("{0}")]
    Wasm(String),
    /// It answered what the ABI does not allow.
    #[error("it broke the ABI: {0}")]
    Abi(&'static str),
}

/// What became of the request that a call broke off on.
#[derive(Debug)]
pub enum SavedRequest {
    /// It is here.
    At(PathBuf),
    /// It could not be written.
    Failed(PathBuf, io::Error),
}
