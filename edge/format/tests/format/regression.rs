//! Inputs that once broke a parser, found by the fuzz targets or by hand. Put the file into `tests/regressions/`; it is
//! replayed through every parser from then on.

use std::fs;
use std::path::Path;

use crate::content::{Bundle, Decision, Log, Request, Shared, State, every_parser_survives};
use crate::golden::{added, current};

#[test]
fn no_known_crash_comes_back() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    for file in fs::read_dir(directory).unwrap() {
        every_parser_survives(&fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn every_parser_survives_the_other_formats() {
    let golden = [
        current::<Bundle>(),
        current::<Shared>(),
        current::<State>(),
        current::<Request>(),
        current::<Decision>(),
        current::<Log>(),
        added::<Bundle>(),
        added::<Request>(),
        added::<Decision>(),
    ];
    golden.iter().for_each(|bytes| every_parser_survives(bytes));
}
