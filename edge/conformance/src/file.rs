//! The corpus as bytes.
//!
//! ```text
//! 0   8  magic "SVCORPUS"
//! 8   4  version, 1
//! 12  4  number of containers
//! 16  4  number of cases
//! ..     containers: length u32, bytes
//! ..     cases: name, bundle u32, shared u32, refusal u32, request, decision
//! ```
//! A name, request or decision is a length `u32` and its bytes. Containers are named by position, [`NONE`] is none. The
//! refusal is the number of the error with which the load of the bundle must end, 0 if it must succeed.

use anyhow::{Context as _, Result, ensure};

use crate::{cases, outcome};

const MAGIC: &[u8; 8] = b"SVCORPUS";
const VERSION: u32 = 1;

/// No container.
pub const NONE: u32 = u32::MAX;

/// Inputs and what must come of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corpus {
    /// Bundles and shared states, valid and not.
    pub containers: Vec<Vec<u8>>,
    /// In order.
    pub cases: Vec<StoredCase>,
}

/// One case of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCase {
    /// What it is about.
    pub name: String,
    /// What is loaded as bundle into a new engine.
    pub bundle: u32,
    /// What is loaded as shared state after it.
    pub shared: u32,
    /// Number of the error with which the load of the bundle ends; 0 for none.
    pub refusal: u32,
    /// The request; empty if the case ends with the load.
    pub request: Vec<u8>,
    /// Its decision.
    pub decision: Vec<u8>,
}

impl Corpus {
    /// The corpus of this version, decided by the engine of this machine.
    #[must_use]
    pub fn of_this_engine() -> Self {
        let mut corpus = Self::default();
        for case in cases() {
            let outcome = outcome(&case);
            let stored = StoredCase {
                name: case.name,
                bundle: corpus.container(case.bundle),
                shared: corpus.container(case.shared),
                refusal: outcome.refusal,
                request: case.request,
                decision: outcome.decision,
            };
            corpus.cases.push(stored);
        }
        corpus
    }

    fn container(&mut self, bytes: Option<Vec<u8>>) -> u32 {
        let Some(bytes) = bytes else { return NONE };
        let position = self.containers.iter().position(|other| *other == bytes).unwrap_or_else(|| {
            self.containers.push(bytes);
            self.containers.len() - 1
        });
        position as u32
    }

    /// The container at a position; none for [`NONE`].
    #[must_use]
    pub fn get(&self, position: u32) -> Option<&[u8]> {
        self.containers.get(position as usize).map(Vec::as_slice)
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for word in [VERSION, self.containers.len() as u32, self.cases.len() as u32] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for container in &self.containers {
            put(&mut out, container);
        }
        for case in &self.cases {
            put(&mut out, case.name.as_bytes());
            for word in [case.bundle, case.shared, case.refusal] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            put(&mut out, &case.request);
            put(&mut out, &case.decision);
        }
        out
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is no corpus of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes.strip_prefix(MAGIC).context("this is no corpus: the first bytes are not SVCORPUS")?;
        let version = word(&mut rest)?;
        ensure!(version == VERSION, "a corpus of version {version}; this reader knows version {VERSION}");
        let (containers, cases) = (word(&mut rest)?, word(&mut rest)?);
        let containers = (0..containers).map(|_| Ok(block(&mut rest)?.to_vec())).collect::<Result<_>>()?;
        let case = |_| {
            Ok(StoredCase {
                name: String::from_utf8(block(&mut rest)?.to_vec()).context("a name is not UTF-8")?,
                bundle: word(&mut rest)?,
                shared: word(&mut rest)?,
                refusal: word(&mut rest)?,
                request: block(&mut rest)?.to_vec(),
                decision: block(&mut rest)?.to_vec(),
            })
        };
        let cases = (0..cases).map(case).collect::<Result<_>>()?;
        ensure!(rest.is_empty(), "{} bytes after the last case", rest.len());
        Ok(Self { containers, cases })
    }
}

pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn word(rest: &mut &[u8]) -> Result<u32> {
    let (word, after) = rest.split_first_chunk().context("the corpus ends too early")?;
    *rest = after;
    Ok(u32::from_le_bytes(*word))
}

fn block<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = word(rest)? as usize;
    let (block, after) = rest.split_at_checked(length).context("the corpus ends too early")?;
    *rest = after;
    Ok(block)
}
