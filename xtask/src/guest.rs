//! Builds the guest module, with and without SIMD (for engines that lack it; both give the same bytes), and checks that
//! it asks nothing of its host.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use wasmparser::{Parser, Payload};

use crate::gates::Figure;
use crate::module::{FAST, Module, PLAIN, SIMD, SMALL, gzip_bytes};
use crate::say;
use crate::toolchain::WasmToolchain;

struct Variant {
    /// File under `target/guest`.
    file: &'static str,
    /// Prefix of the names of its figures.
    figure: &'static str,
    module: Module,
}

const VARIANTS: [Variant; 2] = [
    Variant {
        file: "selvedge-guest.wasm",
        figure: "guest",
        module: Module {
            package: "selvedge-guest",
            directory: "simd",
            profile: "wasm",
            rustflags: &SIMD,
            level: FAST,
            features: &["--enable-simd"],
        },
    },
    Variant {
        file: "selvedge-guest-plain.wasm",
        figure: "guest_plain",
        module: Module {
            package: "selvedge-guest",
            directory: "plain",
            profile: "wasm-plain",
            rustflags: &PLAIN,
            level: SMALL,
            features: &[],
        },
    },
];

/// The module that hosts load by default.
pub(crate) fn module(workspace: &Path) -> PathBuf {
    output(workspace).join(VARIANTS[0].file)
}

/// The same with the names of its functions, for profiles.
pub(crate) fn named(workspace: &Path, toolchain: &WasmToolchain) -> Result<PathBuf> {
    let Variant { module, .. } = &VARIANTS[0];
    let named = output(workspace).join("selvedge-guest-named.wasm");
    module.optimise_with_names(&module.compile(workspace, toolchain)?, &named)?;
    Ok(named)
}

/// Both modules, with SIMD and without.
pub(crate) fn modules(workspace: &Path) -> [PathBuf; 2] {
    VARIANTS.map(|variant| output(workspace).join(variant.file))
}

fn output(workspace: &Path) -> PathBuf {
    workspace.join("target/guest")
}

/// Builds both modules and returns their sizes.
pub(crate) fn build(workspace: &Path, toolchain: &WasmToolchain) -> Result<Vec<Figure>> {
    let output = output(workspace);
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    let mut figures = Vec::new();
    for variant in &VARIANTS {
        let compiled = variant.module.compile(workspace, toolchain)?;
        let module = output.join(variant.file);
        variant.module.optimise(&compiled, &module)?;
        let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        refuse_imports(&bytes, variant.file)?;
        let gzip = gzip_bytes(&bytes)?;
        say::note(format_args!("target/guest/{}: {} bytes, {gzip} gzipped, no imports", variant.file, bytes.len()));
        figures.push(Figure::bytes(&format!("{}.bytes", variant.figure), bytes.len(), "cargo xtask wasm"));
        figures.push(Figure::bytes(&format!("{}.gzip_bytes", variant.figure), gzip, "cargo xtask wasm"));
    }
    Ok(figures)
}

/// The guest runs in any host because it needs none: an import is a build error.
fn refuse_imports(module: &[u8], name: &str) -> Result<()> {
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ImportSection(imports) = payload.with_context(|| format!("{name} is not a valid module"))? else {
            continue;
        };
        let mut found = Vec::new();
        for import in imports.into_imports() {
            let import = import.with_context(|| format!("{name} has an import section that cannot be read"))?;
            found.push(format!("{}.{}", import.module, import.name));
        }
        if !found.is_empty() {
            bail!(
                "{name} imports {}\nhint: the guest must import nothing; a dependency of edge/guest reaches for its host (`cargo tree -p selvedge-guest`)",
                found.join(", ")
            );
        }
    }
    Ok(())
}
