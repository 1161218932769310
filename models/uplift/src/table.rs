//! Trials and users as CSV: a line of names, then one row per user.
//!
//! A column is found by its name, so the order of columns is nothing; a column of the name of a feature is that feature. An
//! empty cell, `NA` or `NaN` is a missing value. What is wrong names the line and the column, because whoever exported the
//! table has to find it there.

use csv::StringRecord;
use thiserror::Error;

use crate::trial::{Assignment, Propensities, Trial, TrialData, TrialError};

/// What the columns of a trial are called.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The arm of each row.
    pub arm: String,
    /// 0 or 1: whether the row responded.
    pub outcome: String,
    /// The probability of the row's own arm where there are two arms. Where there are more, `NAME.ARM` for each arm.
    pub propensity: Option<String>,
    /// Columns that are no features.
    pub ignored: Vec<String>,
}

/// How rows came by their arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// They were drawn.
    Drawn,
    /// Someone or something chose.
    Observed,
}

/// Why a table could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TableError {
    /// Not CSV.
    #[error("not CSV: {0}")]
    Csv(#[from] csv::Error),
    /// No rows.
    #[error("there is no row under the line of names")]
    Empty,
    /// A column is not there.
    #[error("there is no column `{column}`; there are {}", found.join(", "))]
    MissingColumn {
        /// The column.
        column: String,
        /// Those that there are.
        found: Vec<String>,
    },
    /// A name that stands over two columns.
    #[error("two columns are called `{0}`")]
    Twice(String),
    /// A cell that is no number.
    #[error("line {line}, column `{column}`: `{found}` is not a number")]
    Number {
        /// Line of the file, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What stands there.
        found: String,
    },
    /// An arm that is not known.
    #[error("line {line}: the arm `{found}` is none of {}", known.join(", "))]
    Arm {
        /// Line of the file, from 1.
        line: u64,
        /// What stands there.
        found: String,
        /// The arms.
        known: Vec<String>,
    },
    /// The rows are no trial.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// A table that was read.
#[derive(Clone, Debug)]
pub struct Table {
    names: Vec<String>,
    rows: Vec<StringRecord>,
}

impl Table {
    /// Reads CSV.
    ///
    /// # Errors
    /// Not CSV, rows of different lengths, a name twice, or no rows.
    pub fn read(bytes: &[u8]) -> Result<Self, TableError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(TableError::Twice(twice.clone()));
        }
        let rows = reader.records().collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() { Err(TableError::Empty) } else { Ok(Self { names, rows }) }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The columns of these names as numbers, `[row][column]`; a missing one is NaN.
    ///
    /// # Errors
    /// A column is not there, or a cell is no number.
    pub fn numbers(&self, columns: &[String]) -> Result<Vec<f32>, TableError> {
        let at: Vec<usize> = columns.iter().map(|column| self.column(column)).collect::<Result<_, _>>()?;
        self.rows.iter().flat_map(|row| at.iter().map(move |at| self.number(row, *at))).collect()
    }

    /// The trial of these arms, the control first. Every column that is nothing else is a feature. Where no column says the
    /// arms' propensities, their shares of the rows stand for them.
    ///
    /// # Errors
    /// A column is missing, a cell cannot be read, or the rows are no trial.
    pub fn trial(&self, columns: &Columns, arms: &[String], origin: Origin) -> Result<Trial, TableError> {
        let (arm, outcome) = (self.column(&columns.arm)?, self.column(&columns.outcome)?);
        let arm: Vec<usize> = self.rows.iter().map(|row| self.arm(row, arm, arms)).collect::<Result<_, _>>()?;
        let outcome = self.rows.iter().map(|row| self.number(row, outcome)).collect::<Result<_, _>>()?;
        let propensities = match &columns.propensity {
            None => shares(&arm, arms.len()),
            Some(column) => self.propensities(column, &arm, arms)?,
        };
        let features = self.features(columns);
        let assignment = match origin {
            Origin::Drawn => Assignment::Randomised(propensities),
            Origin::Observed => Assignment::Observational(propensities),
        };
        let values = self.numbers(&features)?;
        Ok(Trial::new(TrialData { features, values, arms: arms.to_vec(), arm, assignment, outcome, value: vec![] })?)
    }

    fn features(&self, columns: &Columns) -> Vec<String> {
        let is_other = |name: &&String| {
            let is_propensity = columns.propensity.as_ref().is_some_and(|column| {
                *name == column || name.strip_prefix(column.as_str()).is_some_and(|rest| rest.starts_with('.'))
            });
            **name == columns.arm || **name == columns.outcome || is_propensity || columns.ignored.contains(*name)
        };
        self.names.iter().filter(|name| !is_other(name)).cloned().collect()
    }

    fn propensities(&self, column: &str, arm: &[usize], arms: &[String]) -> Result<Propensities, TableError> {
        if arms.len() > 2 {
            let columns: Vec<String> = arms.iter().map(|arm| format!("{column}.{arm}")).collect();
            return Ok(Propensities::PerRow(self.numbers(&columns)?.into_iter().map(decimal).collect()));
        }
        let own = self.numbers(&[column.to_owned()])?;
        let both = |(own, arm): (f32, &usize)| {
            let (own, other) = (decimal(own), 1.0 - decimal(own));
            if *arm == 0 { [own, other] } else { [other, own] }
        };
        Ok(Propensities::PerRow(own.into_iter().zip(arm).flat_map(both).collect()))
    }

    fn column(&self, name: &str) -> Result<usize, TableError> {
        let missing = || TableError::MissingColumn { column: name.to_owned(), found: self.names.clone() };
        self.names.iter().position(|other| other == name).ok_or_else(missing)
    }

    fn arm(&self, row: &StringRecord, at: usize, arms: &[String]) -> Result<usize, TableError> {
        let found = &row[at];
        arms.iter().position(|arm| arm == found).ok_or_else(|| TableError::Arm {
            line: line(row),
            found: found.to_owned(),
            known: arms.to_vec(),
        })
    }

    fn number(&self, row: &StringRecord, at: usize) -> Result<f32, TableError> {
        let cell = &row[at];
        if matches!(cell, "" | "NA" | "NaN" | "nan") {
            return Ok(f32::NAN);
        }
        let number = || TableError::Number { line: line(row), column: self.names[at].clone(), found: cell.to_owned() };
        cell.parse().map_err(|_| number())
    }
}

fn line(row: &StringRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

/// The number that the shortest decimals of an `f32` say: 0.1 and 0.9 add up to 1.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::NAN)
}

/// The arms' shares of the rows.
fn shares(arm: &[usize], arms: usize) -> Propensities {
    let of = |arm_of: usize| arm.iter().filter(|arm| **arm == arm_of).count() as f64 / arm.len() as f64;
    Propensities::PerArm((0..arms).map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(propensity: Option<&str>) -> Columns {
        Columns {
            arm: "arm".into(),
            outcome: "bought".into(),
            propensity: propensity.map(str::to_owned),
            ignored: vec!["id".into()],
        }
    }

    fn read(csv: &str, propensity: Option<&str>) -> Result<Trial, TableError> {
        let arms = ["none".to_owned(), "five_off".to_owned()];
        Table::read(csv.as_bytes())?.trial(&columns(propensity), &arms, Origin::Drawn)
    }

    #[test]
    fn columns_are_found_by_name_and_the_others_are_features() {
        let trial =
            read("age,id,arm,p,bought,visits\n30,a,none,0.25,0,NA\n41,b,five_off,0.75,1,2\n", Some("p")).unwrap();
        assert_eq!(trial.features(), ["age", "visits"]);
        assert!(trial.row(0)[1].is_nan() && trial.row(1) == [41.0, 2.0]);
        assert_eq!((trial.propensity(0, 0), trial.propensity(1, 0)), (0.25, 0.25));
        assert_eq!((trial.arm(1), trial.outcome(1)), (1, 1.0));
    }

    #[test]
    fn without_propensities_the_shares_of_the_arms_stand_for_them() {
        let trial = read("arm,bought\nnone,0\nfive_off,1\nfive_off,1\nnone,1\nnone,0\n", None).unwrap();
        assert_eq!(trial.propensity(0, 1), 0.4);
    }

    #[test]
    fn three_arms_have_a_propensity_each() {
        let arms = ["none", "a", "b"].map(str::to_owned);
        let csv = "arm,bought,p.none,p.a,p.b\nnone,0,0.5,0.2,0.3\na,1,0.1,0.6,0.3\nb,1,0.4,0.3,0.3\n";
        let trial = Table::read(csv.as_bytes()).unwrap().trial(&columns(Some("p")), &arms, Origin::Drawn).unwrap();
        assert_eq!((trial.propensity(1, 1), trial.propensity(2, 0)), (0.6, 0.4));
        assert!(trial.features().is_empty());
    }

    #[test]
    fn what_is_wrong_names_line_and_column() {
        let refused = |csv: &str| read(csv, None).unwrap_err().to_string();
        assert_eq!(refused("arm,bought\nnone,0\nten_off,1\n"), "line 3: the arm `ten_off` is none of none, five_off");
        assert_eq!(
            refused("arm,bought,age\nnone,0,1\nfive_off,1,old\n"),
            "line 3, column `age`: `old` is not a number"
        );
        assert!(refused("arm,age\nnone,0\n").contains("no column `bought`; there are arm, age"));
        assert!(refused("arm,arm\nnone,0\n").contains("two columns are called `arm`"));
        assert!(refused("arm,bought\n").contains("no row"));
        assert!(refused("arm,bought\nnone,2\nfive_off,1\n").contains("neither 0 nor 1"));
        assert!(refused("arm,bought\nnone\n").contains("not CSV"));
    }
}
