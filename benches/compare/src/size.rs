//! What an engine weighs: what crosses a network to a browser, and what an installation takes.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::engines::{Engine, Installed, Part};

/// Bytes; none where there is nothing of the kind, or where it cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// WebAssembly modules under `gzip -9`, without the JavaScript beside them.
    pub(crate) wasm_gzip: Option<u64>,
    /// All files that the package manager put there.
    pub(crate) package: Option<u64>,
}

/// Sizes of an engine that loaded these modules.
pub(crate) fn of(engine: &Engine, installed: &Installed, modules: &[String]) -> Size {
    let modules: Option<Vec<u64>> = modules.iter().map(|file| gzip(Path::new(file))).collect();
    let wasm_gzip = modules.filter(|list| !list.is_empty()).map(|list| list.iter().sum());
    let folder = installed.of(engine.needs).ok().map(|(path, _)| path);
    let package = folder.filter(|path| engine.part == Part::Peer && path.is_dir()).map(bytes_below);
    Size { wasm_gzip, package }
}

fn gzip(file: &Path) -> Option<u64> {
    let bytes = fs::read(file).ok()?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes).ok()?;
    encoder.finish().ok().map(|packed| packed.len() as u64)
}

/// Of all files; links are not followed.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
