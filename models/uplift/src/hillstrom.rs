//! Hillstrom's e-mail trial ("The MineThatData E-Mail Analytics and Data Mining Challenge", 2008), read from its CSV.
//!
//! Customers of the last twelve months were mailed about men's merchandise, about women's, or not at all, a third each by
//! lot; the outcome is a visit to the site within two weeks, the value what was spent. The file is not ours to pass on, so
//! it is given as a path. Of its columns one-hot features are made, and the few squares and products that a linear model
//! needs to tell apart who bought what; all are functions of one row.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::trial::{Assignment, Propensities, Trial, TrialData, TrialError};

/// Names of the arms, as the file has them.
pub const ARMS: [&str; 3] = ["No E-Mail", "Womens E-Mail", "Mens E-Mail"];

/// The features, in order. With an S-learner of two arms: 12 weights, 12 interactions and a bias are 25.
pub const FEATURES: [&str; 12] = [
    "recency",
    "log history",
    "mens",
    "womens",
    "mens and womens",
    "newbie",
    "urban",
    "rural",
    "phone",
    "web",
    "recency squared",
    "newbie and womens",
];

const COLUMNS: [&str; 12] = [
    "recency",
    "history_segment",
    "history",
    "mens",
    "womens",
    "zip_code",
    "newbie",
    "channel",
    "segment",
    "visit",
    "conversion",
    "spend",
];

/// Why the file could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HillstromError {
    /// The file is not there.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another file.
    #[error("line {line}: {reason}; Hillstrom's file has the columns {}", COLUMNS.join(","))]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The rows are no trial.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// Reads the trial. Arms are [`ARMS`], each with propensity 1/3; the outcome is a visit, the value the amount spent.
///
/// # Errors
/// The file is missing or another one, or its arms were not drawn by lot.
pub fn read(path: &Path) -> Result<Trial, HillstromError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| HillstromError::Read { path: path.to_owned(), source })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Trial, HillstromError> {
    let mut lines = text.lines();
    if lines.next() != Some(COLUMNS.join(",").as_str()) {
        return Err(HillstromError::Line { line: 1, reason: "other columns".into() });
    }
    let third = 1.0 / ARMS.len() as f64;
    let mut data = TrialData {
        features: FEATURES.map(str::to_owned).to_vec(),
        values: vec![],
        arms: ARMS.map(str::to_owned).to_vec(),
        arm: vec![],
        assignment: Assignment::Randomised(Propensities::PerArm(vec![third; ARMS.len()])),
        outcome: vec![],
        value: vec![],
    };
    for (at, line) in lines.enumerate() {
        row(line, &mut data).map_err(|reason| HillstromError::Line { line: at + 2, reason })?;
    }
    Ok(Trial::new(data)?)
}

/// Adds a line of the file.
fn row(line: &str, data: &mut TrialData) -> Result<(), String> {
    // History segments hold commas: `6) $750 - $1,000`, in quotes where the writer was careful.
    let (recency, rest) = line.split_once(',').ok_or("no columns")?;
    let fields: Vec<&str> = rest.rsplitn(11, ',').collect();
    let &[spend, _, visit, segment, channel, newbie, zip, womens, mens, history, _] = &fields[..] else {
        return Err(format!("{} columns", fields.len() + 1));
    };
    let number = |name: &str, text: &str| text.parse::<f32>().map_err(|_| format!("{name} is `{text}`"));
    let flag = |is: bool| f32::from(u8::from(is));
    let recency = number("recency", recency)?;
    let (mens, womens, newbie) = (number("mens", mens)?, number("womens", womens)?, number("newbie", newbie)?);
    let arm = ARMS.iter().position(|arm| *arm == segment).ok_or_else(|| format!("segment is `{segment}`"))?;
    data.values.extend([
        recency,
        number("history", history)?.max(1.0).ln(),
        mens,
        womens,
        mens * womens,
        newbie,
        flag(zip == "Urban"),
        flag(zip == "Rural"),
        flag(channel == "Phone"),
        flag(channel == "Web"),
        recency * recency,
        newbie * womens,
    ]);
    data.arm.push(arm);
    data.outcome.push(number("visit", visit)?);
    data.value.push(number("spend", spend)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 3] = [
        "10,2) $100 - $200,142.44,1,0,Surburban,0,Phone,Womens E-Mail,0,0,0",
        "6,\"6) $750 - $1,000\",829.08,1,1,Rural,1,Web,No E-Mail,1,0,12.5",
        "2,1) $0 - $100,29.99,0,1,Urban,1,Multichannel,Mens E-Mail,0,0,0",
    ];

    #[test]
    fn lines_become_rows() {
        let text = format!("{}\n{}\n", COLUMNS.join(","), LINES.join("\n"));
        let trial = parse(&text).unwrap();
        assert_eq!((trial.rows(), trial.features().len()), (3, FEATURES.len()));
        assert_eq!((0..3).map(|row| trial.arm(row)).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!((trial.outcome(1), trial.value(1)), (1.0, Some(12.5)));
        assert_eq!(trial.row(1), [6.0, 829.08_f32.ln(), 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 36.0, 1.0]);
    }

    #[test]
    fn another_file_is_refused_with_its_line() {
        let refused = |text: &str| parse(text).unwrap_err().to_string();
        assert!(refused("a,b\n").starts_with("line 1: other columns"));
        let broken = format!("{}\n{}\n", COLUMNS.join(","), LINES[0].replace("Womens E-Mail", "Fax"));
        assert!(refused(&broken).starts_with("line 2: segment is `Fax`"), "{}", refused(&broken));
        assert!(refused(&format!("{}\n1,2\n", COLUMNS.join(","))).starts_with("line 2: 2 columns"));
    }
}
