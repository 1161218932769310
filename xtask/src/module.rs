//! From a crate of `edge/` to an optimised WebAssembly module: cargo, wasm-bindgen where JavaScript is the host, wasm-opt.
//!
//! Modules are built in `target/wasm`, apart from native code, because the compiler may be another one. Nothing of the
//! machine goes into them: paths are remapped and every flag is given here, so two machines with one compiler build the
//! same bytes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::toolchain::{TARGET, WasmToolchain};
use crate::{binaryen, cache, process, tools};

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

/// For every module. What LLVM did not inline into its only caller stays a function: inlined, it is no faster and compresses worse.
/// Functions of one crate are alike, and lie side by side where they are in the order of their names. The lowest kilobyte is the far
/// end of the stack.
const OPTIMISE: [&str; 5] = [
    "--one-caller-inline-max-function-size=10",
    "--low-memory-unused",
    "--reorder-functions-by-name",
    STRIP_NAMES,
    "--strip-producers",
];
const STRIP_NAMES: &str = "--strip-debug";

/// Speed first: the modules are below their size limits, and decisions are what they are for.
pub(crate) const FAST: &str = "-O3";
/// Size first: for engines without SIMD, which are old.
pub(crate) const SMALL: &str = "-Oz";

/// With SIMD, for the guest and the browser. The engine is built at level 2; loops that must be unrolled are written out
/// (`edge/engine/src/each.rs`).
pub(crate) const SIMD: [&str; 5] = [
    "-Ctarget-feature=+simd128",
    "-Cllvm-args=-unroll-threshold=50",
    "-Cllvm-args=-inline-threshold=75",
    WITHOUT_PLACES,
    SMALL_STACK,
];
/// Without.
pub(crate) const PLAIN: [&str; 3] = ["-Cllvm-args=-inline-threshold=10", WITHOUT_PLACES, SMALL_STACK];

/// A panic traps without a word, so the names of source files that it would print are never read; they stay in the module
/// all the same unless the compiler is told. The flag is unstable, hence `RUSTC_BOOTSTRAP` beside it.
const WITHOUT_PLACES: &str = "-Zlocation-detail=none";
/// Nothing recurses. Below a stack of 1 MiB the addresses of statics are a byte shorter as well.
const SMALL_STACK: &str = "-Clink-arg=-zstack-size=524288";

/// A crate and how it is compiled.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    /// The crate, a cdylib.
    pub(crate) package: &'static str,
    /// Directory under `target/wasm`; modules with the same flags share it.
    pub(crate) directory: &'static str,
    /// Profile of Cargo.toml.
    pub(crate) profile: &'static str,
    pub(crate) rustflags: &'static [&'static str],
    /// How far wasm-opt goes, and for what: [`FAST`] or [`SMALL`].
    pub(crate) level: &'static str,
    /// WebAssembly features that this module may use besides the base, for wasm-opt.
    pub(crate) features: &'static [&'static str],
}

impl Module {
    /// Cargo's module; cargo decides whether there is anything to do.
    pub(crate) fn compile(&self, workspace: &Path, toolchain: &WasmToolchain) -> Result<PathBuf> {
        let target = workspace.join("target/wasm").join(self.directory);
        let mut flags = vec![
            format!("--remap-path-prefix={}=/selvedge", workspace.display()),
            format!("--remap-path-prefix={}=/cargo", cache::cargo_home()?.display()),
        ];
        flags.extend(self.rustflags.iter().map(|flag| (*flag).to_owned()));
        let mut cargo = process::cargo();
        toolchain.apply(&mut cargo);
        cargo
            .current_dir(workspace)
            .args(["build", "--package", self.package, "--profile", self.profile, "--target", TARGET, "--target-dir"])
            .arg(&target)
            // Highest of the places that flags can come from: the user's RUSTFLAGS never change what ships.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        if self.rustflags.iter().any(|flag| flag.starts_with("-Z")) {
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        process::run(&mut cargo, "read the compiler's message above; `cargo xtask setup` checks the wasm toolchain")?;
        let module = target.join(TARGET).join(self.profile).join(self.package.replace('-', "_")).with_extension("wasm");
        if !module.exists() {
            bail!(
                "cargo built no {}\nhint: the Cargo.toml of {} needs `crate-type = [\"cdylib\"]` under [lib]",
                module.display(),
                self.package
            );
        }
        Ok(module)
    }

    /// Runs wasm-opt unless its last output came from the same bytes, flags and version.
    pub(crate) fn optimise(&self, compiled: &Path, module: &Path) -> Result<()> {
        let input = fs::read(compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
        let flags = || [&self.level].into_iter().chain(&OPTIMISE).chain(&BASE_FEATURES).chain(self.features);
        let mut key = Sha256::new();
        key.update(&input);
        key.update(binaryen::VERSION);
        flags().for_each(|flag| key.update(flag));
        let key: String = key.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let key_file = compiled.with_extension("optimised");
        if module.exists() && fs::read_to_string(&key_file).is_ok_and(|last| last == key) {
            return Ok(());
        }
        run_wasm_opt(flags(), compiled, module)?;
        fs::write(&key_file, key).with_context(|| format!("cannot write {}", key_file.display()))
    }

    /// The same code, with the names of functions.
    pub(crate) fn optimise_with_names(&self, compiled: &Path, module: &Path) -> Result<()> {
        let kept = OPTIMISE.iter().filter(|flag| **flag != STRIP_NAMES);
        run_wasm_opt(
            [&self.level, &"-g"].into_iter().chain(kept).chain(&BASE_FEATURES).chain(self.features),
            compiled,
            module,
        )
    }

    /// Compiles, writes wasm-bindgen's JavaScript into `bindings` and the optimised module to `module`.
    pub(crate) fn bind(
        &self,
        workspace: &Path,
        toolchain: &WasmToolchain,
        bindings: &Path,
        module: &Path,
    ) -> Result<()> {
        let compiled = self.compile(workspace, toolchain)?;
        self.bind_compiled(&compiled, bindings, module)
    }

    /// The same for a module that was compiled elsewhere.
    pub(crate) fn bind_compiled(&self, compiled: &Path, bindings: &Path, module: &Path) -> Result<()> {
        process::quiet(
            std::process::Command::new(tools::WASM_BINDGEN.find_or_install()?)
                .args(["--target", "web", "--omit-default-module-path", "--experimental-reset-state-function"])
                .arg("--out-dir")
                .arg(bindings)
                .arg(compiled),
            &format!("wasm-bindgen {}", self.package),
            "wasm-bindgen in Cargo.toml and WASM_BINDGEN in xtask/src/tools.rs must be the same version",
        )?;
        let name = self.package.replace('-', "_");
        self.optimise(&bindings.join(format!("{name}_bg.wasm")), module)
    }
}

/// Size under `gzip -9`, the size that crosses a network.
pub(crate) fn gzip_bytes(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map(|packed| packed.len())
        .context("cannot gzip the module")
}

/// Optimises what cargo built, and fails with what wasm-opt said.
fn run_wasm_opt<'a>(flags: impl Iterator<Item = &'a &'static str>, compiled: &Path, module: &Path) -> Result<()> {
    process::quiet(
        binaryen::wasm_opt(&binaryen::find_or_install()?).args(flags).arg(compiled).arg("-o").arg(module),
        &format!("wasm-opt {}", module.display()),
        "a feature that wasm-opt was not told of is the usual cause: see BASE_FEATURES in xtask/src/module.rs",
    )
}
