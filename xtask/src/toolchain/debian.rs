//! Debian's `rustc-web` with a std for wasm built from `rust-web-src`.
//!
//! Debian ships a current compiler (for building browsers) but std for wasm only for WASI. Building std takes about a
//! minute, once per compiler version, and needs nothing but Debian's mirror and crates.io.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{TARGET, has_std};
use crate::{cache, process, say};

/// The package whose version decides whether this way is open.
const COMPILER: &str = "rustc-web";

/// What std is built from and with on Debian; the linker is added by the compiler's LLVM version.
const PACKAGES: [&str; 4] = [COMPILER, "cargo-web", "rust-web-src", "libstd-rust-web-dev"];

/// Raised when the layout of the cached sysroot changes, so that an older one is not taken for it.
const SYSROOT_LAYOUT: u32 = 1;

/// Where Debian's packages put the compiler, whatever is first on PATH.
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// Debian's compiler with std for wasm, or `None` where Debian's packages do not exist or are too old.
pub(super) fn sysroot() -> Result<Option<PathBuf>> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "ID=debian") {
        return Ok(None);
    }
    let complete = PACKAGES.iter().all(|package| installed(package).is_some());
    if !complete || !installed(COMPILER).is_some_and(|version| new_enough(&version)) {
        // Without fresh lists a new machine knows no packages at all, and an old one only the release's first version.
        if let Err(error) = apt(&["update", "-qq"], "refreshing Debian's package lists") {
            say::note(format_args!("going on with the package lists as they are: {error}"));
        }
        if !candidate(COMPILER).is_some_and(|version| new_enough(&version)) {
            return Ok(None);
        }
        apt_install(&PACKAGES)?;
    }
    let verbose = process::capture(Command::new(RUSTC).arg("-vV"), "reinstall Debian's rustc-web")?;
    let field = |name: &str| {
        let line = verbose.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("`{RUSTC} -vV` shows no `{name}` line"))
    };
    let host = field("host:")?;
    let llvm = field("LLVM version:")?.split('.').next().unwrap_or_default().to_owned();
    let linker = PathBuf::from(format!("/usr/bin/wasm-ld-{llvm}"));
    if !linker.exists() {
        apt_install(&[&format!("lld-{llvm}")])?;
    }
    let version = installed(COMPILER)
        .context("apt-get installed rustc-web, yet dpkg does not know it\nhint: run `dpkg --audit`")?;
    let key = format!("wasm-toolchain-{version}-{SYSROOT_LAYOUT}");
    cache::entry(&key, &format!("std for {TARGET}, built once"), |sysroot| build_std(sysroot, host, &linker)).map(Some)
}

/// Lays out a sysroot that borrows Debian's compiler and native std and holds a freshly built std for wasm.
fn build_std(sysroot: &Path, host: &str, linker: &Path) -> Result<()> {
    let rustlib = sysroot.join("lib/rustlib");
    let wasm_libraries = rustlib.join(TARGET).join("lib");
    for directory in [sysroot.join("bin"), rustlib.join(host).join("bin"), wasm_libraries.clone()] {
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let link = |original: PathBuf, link: PathBuf| {
        symlink(&original, &link).with_context(|| format!("cannot link {} to {}", link.display(), original.display()))
    };
    let debian = Path::new("/usr/lib/rustlib");
    link(debian.join(host).join("lib"), rustlib.join(host).join("lib"))?; // native std, for build scripts and proc macros
    link(debian.join("src"), rustlib.join("src"))?; // the sources of std
    link(linker.to_owned(), rustlib.join(host).join("bin/rust-lld"))?; // the name by which rustc looks for its wasm linker
    for tool in ["rustc", "rustdoc"] {
        // Cargo calls it by its absolute path, so the sysroot is found beside it and the directory may be moved.
        let script = format!("#!/bin/sh\nexec /usr/bin/{tool} --sysroot \"${{0%/bin/*}}\" \"$@\"\n");
        let path = sysroot.join("bin").join(tool);
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))?;
    }

    // Cargo builds std only as a dependency of something: an empty crate.
    let seed = sysroot.join("build");
    fs::create_dir_all(seed.join("src"))?;
    fs::write(seed.join("src/lib.rs"), "#![no_std]\n")?;
    let manifest = "[package]\nname = \"seed\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n\
                    [profile.release]\nopt-level = 3\ndebug = false\ncodegen-units = 1\n";
    fs::write(seed.join("Cargo.toml"), manifest)?;
    let rustc = sysroot.join("bin/rustc");
    let flags = [
        // As the distributed std has it; without it `lto = true` fails with "Can't find section .llvmbc".
        "-Cembed-bitcode=yes".to_owned(),
        // Panic locations keep these paths; a module should not say where this machine keeps its cache.
        format!("--remap-path-prefix={}=/rust", rustlib.join("src/rust").display()),
        format!("--remap-path-prefix={}=/cargo", cache::cargo_home()?.display()),
    ];
    process::quiet(
        Command::new(CARGO)
            .current_dir(&seed)
            .args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort,test"])
            .env("RUSTC", &rustc)
            .env("RUSTC_BOOTSTRAP", "1") // -Zbuild-std is the one unstable thing, and only here
            .env("CARGO_TARGET_DIR", seed.join("target"))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO_BUILD_TARGET"),
        &format!("building std for {TARGET}"),
        "std is built from /usr/lib/rustlib/src and crates.io: reinstall rust-web-src, check the network, run the task again",
    )?;
    let built = seed.join("target").join(TARGET).join("release/deps");
    for entry in fs::read_dir(&built).with_context(|| format!("cannot read {}", built.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let library = path.extension().is_some_and(|extension| extension == "rlib" || extension == "rmeta");
        if library && !name.to_string_lossy().starts_with("libseed-") {
            fs::copy(&path, wasm_libraries.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    fs::remove_dir_all(&seed).with_context(|| format!("cannot remove {}", seed.display()))?;
    ensure!(has_std(&mut Command::new(&rustc)), "std was built, yet {} does not see it", rustc.display());
    Ok(())
}

/// The installed version of a Debian package.
fn installed(package: &str) -> Option<String> {
    let answer = process::ask(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status} ${Version}", package]))?;
    answer.strip_prefix("installed ").map(str::to_owned)
}

/// The version of a Debian package that would be installed.
fn candidate(package: &str) -> Option<String> {
    let policy = process::ask(Command::new("apt-cache").args(["policy", package]))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim().to_owned();
    (version != "(none)").then_some(version)
}

/// Whether a version of the compiler's package reaches the workspace's `rust-version`.
fn new_enough(version: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    numbers(version) >= numbers(env!("CARGO_PKG_RUST_VERSION"))
}

fn apt_install(packages: &[&str]) -> Result<()> {
    say::note(format_args!("apt-get install {}", packages.join(" ")));
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments, &format!("installing {}", packages.join(" ")))
}

/// apt-get as root: directly where we are root, else through sudo.
fn apt(arguments: &[&str], doing: &str) -> Result<()> {
    let root = process::ask(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    let mut command = if root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        // -n: a password prompt hidden behind a spinner would look like a hang.
        sudo.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    let hint = format!(
        "run it by hand as root: apt-get {}; or, with rustup, `rustup target add {TARGET}`; then run the task again",
        arguments.join(" ")
    );
    process::quiet(command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments), doing, &hint)
}
