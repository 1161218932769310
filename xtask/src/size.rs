//! Sizes of what ships, as they cross a network.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::gates::Figure;
use crate::module::gzip_bytes;
use crate::say;

/// What ships to one place: files that are sent together, each compressed by itself.
struct Shipment {
    name: &'static str,
    files: &'static [&'static str],
}

const SHIPMENTS: [Shipment; 5] = [
    Shipment { name: "guest", files: &["target/guest/selvedge-guest.wasm"] },
    // What a page loads: the package's JavaScript and one module.
    Shipment { name: "browser", files: &["www/sdk/dist/browser.js", "www/sdk/dist/selvedge.wasm"] },
    Shipment { name: "browser_channel", files: &["www/sdk/dist/channel.js"] },
    Shipment { name: "browser_plain", files: &["www/sdk/dist/browser.js", "www/sdk/dist/selvedge-plain.wasm"] },
    Shipment { name: "worker", files: &["target/worker/index.js", "target/worker/selvedge_worker_bg.wasm"] },
];

#[derive(Serialize)]
struct Size {
    name: &'static str,
    /// Sum over the files, each under `gzip -9`.
    gzip_bytes: usize,
    bytes: usize,
    files: &'static [&'static str],
}

/// Measures what was built, and writes it as JSON where asked to.
pub(crate) fn run(workspace: &Path, json: Option<&Path>) -> Result<Vec<Figure>> {
    let sizes = SHIPMENTS.iter().map(|shipment| measure(workspace, shipment)).collect::<Result<Vec<_>>>()?;
    for size in &sizes {
        say::note(format_args!("{}: {} bytes gzipped, {} bytes", size.name, size.gzip_bytes, size.bytes));
    }
    if let Some(json) = json {
        let text = serde_json::to_string_pretty(&sizes).context("cannot write the sizes as JSON")?;
        fs::write(json, text + "\n").with_context(|| format!("cannot write {}", json.display()))?;
    }
    let figure = |size: &Size| Figure::bytes(&format!("size.{}", size.name), size.gzip_bytes, "cargo xtask size");
    Ok(sizes.iter().map(figure).collect())
}

fn measure(workspace: &Path, shipment: &Shipment) -> Result<Size> {
    let mut size = Size { name: shipment.name, gzip_bytes: 0, bytes: 0, files: shipment.files };
    for file in shipment.files {
        let bytes = fs::read(workspace.join(file)).with_context(|| format!("cannot read {file}"))?;
        size.gzip_bytes += gzip_bytes(&bytes)?;
        size.bytes += bytes.len();
    }
    Ok(size)
}
