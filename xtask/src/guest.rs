//! Builds the guest module: cargo, then wasm-opt, then a check that it asks nothing of its host.
//!
//! Two modules come out, with and without SIMD, for engines that lack it; both give the same bytes. They are built in
//! `target/wasm`, apart from native code, because the compiler may be another one. Nothing of the machine goes into
//! them: paths are remapped and every flag is given here, so two machines with one compiler build the same bytes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

use crate::gates::Figure;
use crate::toolchain::{TARGET, WasmToolchain};
use crate::{binaryen, cache, process, say};

struct Variant {
    /// Directory under `target/wasm`.
    directory: &'static str,
    /// File under `target/guest`.
    module: &'static str,
    /// Prefix of the names of its figures.
    figure: &'static str,
    rustflags: &'static [&'static str],
    /// WebAssembly features that this module may use, for wasm-opt.
    features: &'static [&'static str],
}

const VARIANTS: [Variant; 2] = [
    Variant {
        directory: "simd",
        module: "selvedge-guest.wasm",
        figure: "guest",
        rustflags: &["-Ctarget-feature=+simd128"],
        features: &["--enable-simd"],
    },
    Variant {
        directory: "plain",
        module: "selvedge-guest-plain.wasm",
        figure: "guest_plain",
        // For engines that are old: size counts for more than the few percent that inlining brings.
        rustflags: &["-Cllvm-args=-inline-threshold=60"],
        features: &[],
    },
];

/// What rustc's wasm target has on by default: wasm-opt refuses a module that uses what it was not told of.
const BASE_FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-mutable-globals",
    "--enable-multivalue",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// Speed first: the module is far below its size limit, and decisions are what it is for.
const OPTIMISE: [&str; 3] = ["-O3", "--strip-debug", "--strip-producers"];

/// The module that hosts load by default.
pub(crate) fn module(workspace: &Path) -> PathBuf {
    output(workspace).join(VARIANTS[0].module)
}

fn output(workspace: &Path) -> PathBuf {
    workspace.join("target/guest")
}

/// Builds both modules and returns their sizes.
pub(crate) fn build(workspace: &Path, toolchain: &WasmToolchain) -> Result<Vec<Figure>> {
    let binaryen = binaryen::find_or_install()?;
    let output = output(workspace);
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    let mut figures = Vec::new();
    for variant in &VARIANTS {
        let compiled = compile(workspace, toolchain, variant)?;
        let module = output.join(variant.module);
        optimise(&binaryen, variant, &compiled, &module)?;
        let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        refuse_imports(&bytes, variant.module)?;
        let gzip = gzip_bytes(&bytes)?;
        say::note(format_args!("target/guest/{}: {} bytes, {gzip} gzipped, no imports", variant.module, bytes.len()));
        figures.push(Figure::bytes(&format!("{}.bytes", variant.figure), bytes.len(), "cargo xtask wasm"));
        figures.push(Figure::bytes(&format!("{}.gzip_bytes", variant.figure), gzip, "cargo xtask wasm"));
    }
    Ok(figures)
}

/// Cargo's module, in `target/wasm/<variant>`; cargo decides whether there is anything to do.
fn compile(workspace: &Path, toolchain: &WasmToolchain, variant: &Variant) -> Result<PathBuf> {
    let target = workspace.join("target/wasm").join(variant.directory);
    let mut flags = vec![
        format!("--remap-path-prefix={}=/selvedge", workspace.display()),
        format!("--remap-path-prefix={}=/cargo", cache::cargo_home()?.display()),
    ];
    flags.extend(variant.rustflags.iter().map(|flag| (*flag).to_owned()));
    let mut cargo = process::cargo();
    toolchain.apply(&mut cargo);
    cargo
        .current_dir(workspace)
        .args(["build", "--package", "selvedge-guest", "--profile", "wasm", "--target", TARGET, "--target-dir"])
        .arg(&target)
        // Highest of the places that flags can come from: the user's RUSTFLAGS never change what ships.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    process::run(&mut cargo, "read the compiler's message above; `cargo xtask setup` checks the wasm toolchain")?;
    let module = target.join(TARGET).join("wasm/selvedge_guest.wasm");
    if !module.exists() {
        bail!(
            "cargo built no {}\nhint: edge/guest/Cargo.toml needs `crate-type = [\"cdylib\"]` under [lib]",
            module.display()
        );
    }
    Ok(module)
}

/// Runs wasm-opt unless its last output came from the same bytes, flags and version.
fn optimise(binaryen: &Path, variant: &Variant, compiled: &Path, module: &Path) -> Result<()> {
    let input = fs::read(compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    let flags = || OPTIMISE.iter().chain(&BASE_FEATURES).chain(variant.features);
    let mut key = Sha256::new();
    key.update(&input);
    key.update(binaryen::VERSION);
    flags().for_each(|flag| key.update(flag));
    let key: String = key.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let key_file = compiled.with_extension("optimised");
    if module.exists() && fs::read_to_string(&key_file).is_ok_and(|last| last == key) {
        return Ok(());
    }
    process::quiet(
        binaryen::wasm_opt(binaryen).args(flags()).arg(compiled).arg("-o").arg(module),
        &format!("wasm-opt {}", variant.module),
        "a feature that wasm-opt was not told of is the usual cause: see BASE_FEATURES in xtask/src/guest.rs",
    )?;
    fs::write(&key_file, key).with_context(|| format!("cannot write {}", key_file.display()))
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

/// Size under `gzip -9`, the size that crosses a network.
fn gzip_bytes(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map(|packed| packed.len())
        .context("cannot gzip the module")
}
