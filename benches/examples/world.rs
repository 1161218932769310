//! The benchmarks' world as files, for the faces that are measured from JavaScript:
//!
//! ```text
//! cargo run --release -p selvedge-benches --example world -- TREES CANDIDATES DIRECTORY
//! ```
//!
//! `bundle.svb` and `shared.bin` are to be loaded, `state.bin` is the user's; `ids.txt` has an item per line.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use selvedge_benches::World;
use selvedge_format::request::{RequestLimits, RequestView};

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
    Ok(())
}
