//! The benchmarks' world as files, for the faces that are measured from JavaScript:
//!
//! ```text
//! cargo run --release -p selvedge-benches --example world -- TREES CANDIDATES DIRECTORY
//! ```
//!
//! `bundle.svb` and `shared.bin` are to be loaded, `state.bin` is the user's; `ids.txt` has an item per line.
//! `coupons-linear.svb` and `coupons-trees.svb` have a campaign of eight arms, `coupons.bin` is the state of their user.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use selvedge_benches::World;
use selvedge_benches::coupons::{self, Responses};
use selvedge_format::request::{RequestLimits, RequestView};

/// Trees of the response of one arm.
const COUPON_TREES: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [trees, candidates, directory] = &arguments[..] else {
        return Err("arguments: TREES CANDIDATES DIRECTORY".into());
    };
    let world = World::new(trees.parse()?, candidates.parse()?)?;
    let limits = RequestLimits { bytes: usize::MAX, state_bytes: usize::MAX };
    let request = RequestView::parse(&world.request, limits)?;
    let ids: Vec<String> =
        (0..request.candidates).map(|at| String::from_utf8_lossy(request.ids.get(at)).into_owned()).collect();
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("bundle.svb"), &world.bundle)?;
    fs::write(directory.join("shared.bin"), &world.shared)?;
    fs::write(directory.join("state.bin"), request.state)?;
    fs::write(directory.join("ids.txt"), ids.join("\n"))?;
    fs::write(directory.join("coupons-linear.svb"), coupons::bundle(Responses::Linear))?;
    fs::write(directory.join("coupons-trees.svb"), coupons::bundle(Responses::Trees(COUPON_TREES)))?;
    fs::write(directory.join("coupons.bin"), coupons::state()?)?;
    Ok(())
}
