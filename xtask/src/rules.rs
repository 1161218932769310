//! The dependency rules of ARCHITECTURE.md, checked instead of remembered.
//!
//! Three things that a review misses easily: an arrow between two of our crates that the architecture does not draw, an
//! outside crate that finds its way into what ships in wasm, and unsafe code outside the one module that may hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::toolchain::TARGET;
use crate::{process, say};

/// The arrows of ARCHITECTURE.md: a crate and what it may depend on. What is reached through an allowed arrow may also
/// be named directly.
const ARROWS: [(&str, &[&str]); 23] = [
    ("selvedge-format", &[]),
    ("selvedge-engine", &["selvedge-format"]),
    ("selvedge-wire", &["selvedge-engine"]),
    ("selvedge-offer", &["selvedge-format"]),
    ("selvedge-budget", &[]),
    ("selvedge-guest", &["selvedge-wire"]),
    ("selvedge-browser", &["selvedge-wire"]),
    ("selvedge-worker", &["selvedge-wire", "selvedge-offer", "selvedge-budget"]),
    ("selvedge-conformance", &["selvedge-wire"]),
    ("selvedge-spec", &[]),
    ("selvedge-compile", &["selvedge-spec", "selvedge-engine"]),
    ("selvedge-emit", &["selvedge-engine"]),
    ("selvedge-train", &["selvedge-spec", "selvedge-wire"]),
    ("selvedge-uplift", &["selvedge-train", "selvedge-budget"]),
    ("selvedge-runner", &["selvedge-format"]), // the guest module reaches it as bytes
    ("selvedge-follow", &["selvedge-format"]),
    ("selvedge-sync", &["selvedge-follow", "selvedge-wire", "selvedge-offer", "selvedge-budget"]),
    ("selvedge-chaos", &["selvedge-sync", "selvedge-compile"]),
    ("selvedge-simulate", &["selvedge-budget"]),
    (
        "selvedge-cli",
        &["selvedge-compile", "selvedge-emit", "selvedge-train", "selvedge-uplift", "selvedge-runner", "selvedge-sync"],
    ),
    ("selvedge-benches", &["selvedge-wire"]),
    ("selvedge-bench-compare", &["selvedge-wire", "selvedge-runner"]),
    ("xtask", &[]),
];

/// The crates that may run in wasm.
const EDGE: [&str; 8] = [
    "selvedge-format",
    "selvedge-engine",
    "selvedge-wire",
    "selvedge-offer",
    "selvedge-budget",
    "selvedge-guest",
    "selvedge-browser",
    "selvedge-worker",
];

/// Those of them that no decision is made in: two talk to a JavaScript host, and so link its bindings; offers are signed
/// and priced after the decision, and so link what signs and reads JSON.
const BESIDE: [&str; 3] = ["selvedge-browser", "selvedge-offer", "selvedge-worker"];

/// Every outside crate that may be linked into what decides. A newcomer must be no_std, deterministic, and know no
/// clock, random source, log or host; it is added here in the commit that needs it.
const LINKED_IN_WASM: [&str; 15] = [
    "allocator-api2",
    "bytemuck",
    "cfg-if",
    "cobs",
    "libm",
    "lock_api",
    "postcard",
    "safe_arch",
    "scopeguard",
    "serde",
    "serde_core",
    "talc",
    "thiserror",
    "wide",
    "xxhash-rust",
];

/// Crates whose root must forbid unsafe code outright.
const FORBID_UNSAFE: [&str; 5] = [
    "edge/format/src/lib.rs",
    "edge/engine/src/lib.rs",
    "edge/wire/src/lib.rs",
    "edge/offer/src/lib.rs",
    "edge/budget/src/lib.rs",
];

/// The files that may lift the workspace's `unsafe_code = "deny"`, and why.
const MAY_BE_UNSAFE: [(&str, &str); 1] = [("edge/guest/src/abi.rs", "raw pointers cross the module's boundary")];

/// Checks all rules and reports every breach at once.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(workspace)
        .no_deps()
        .exec()
        .context("cannot read the workspace\nhint: `cargo metadata` shows what is wrong with a Cargo.toml")?;
    let mut breaches = arrow_breaches(&metadata, &ARROWS);
    for edge in EDGE.into_iter().filter(|edge| !BESIDE.contains(edge)) {
        breaches.extend(linked_breaches(edge, &linked_crates(workspace, edge)?));
    }
    breaches.extend(unsafe_breaches(workspace, &metadata)?);
    if !breaches.is_empty() {
        bail!(
            "{}\nhint: the rules and their reasons are in ARCHITECTURE.md, \"Dependency rules\"",
            breaches.join("\n")
        );
    }
    say::note("dependency arrows, crates linked into wasm, and unsafe code are as ARCHITECTURE.md says");
    Ok(())
}

/// Arrows between workspace crates that the table does not allow.
fn arrow_breaches(metadata: &Metadata, arrows: &[(&str, &[&str])]) -> Vec<String> {
    let members = metadata.workspace_packages();
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let mut breaches = Vec::new();
    for package in &members {
        let name = package.name.as_str();
        if !arrows.iter().any(|(from, _)| *from == name) {
            breaches.push(format!("{name} has no line in the table of arrows (xtask/src/rules.rs)"));
            continue;
        }
        for (to, kind) in inner_dependencies(package, &names) {
            if !allowed(arrows, name, to, kind) {
                let note = if kind == DependencyKind::Development { " (as a dev-dependency)" } else { "" };
                breaches.push(format!("{name} -> {to}{note} is not an arrow of the architecture"));
            }
        }
    }
    breaches
}

fn inner_dependencies<'a>(
    package: &'a Package,
    names: &'a BTreeSet<&str>,
) -> impl Iterator<Item = (&'a str, DependencyKind)> {
    let inner = package.dependencies.iter().filter(|dependency| names.contains(dependency.name.as_str()));
    inner.map(|dependency| (dependency.name.as_str(), dependency.kind))
}

/// A crate may depend on what the table draws, directly or through others. Its tests may draw further arrows, except
/// from the edge to what is not edge.
fn allowed(arrows: &[(&str, &[&str])], from: &str, to: &str, kind: DependencyKind) -> bool {
    if kind == DependencyKind::Development && (!EDGE.contains(&from) || EDGE.contains(&to)) {
        return true;
    }
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(current) = open.pop() {
        let next = arrows.iter().find(|(name, _)| *name == current).map_or(&[][..], |(_, to)| to);
        open.extend(next.iter().copied().filter(|name| reached.insert(*name)));
    }
    reached.contains(to)
}

/// Names of the crates that a build of `package` for wasm links, by cargo's own resolution of its default features.
fn linked_crates(workspace: &Path, package: &str) -> Result<BTreeSet<String>> {
    let mut cargo = process::cargo();
    cargo.current_dir(workspace).args([
        "tree",
        "--package",
        package,
        "--edges",
        "normal,no-proc-macro",
        "--target",
        TARGET,
    ]);
    let tree =
        process::capture(cargo.args(["--prefix", "none", "--format", "{p}"]), "`cargo tree` shows what is wrong")?;
    Ok(tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn linked_breaches(package: &str, linked: &BTreeSet<String>) -> Vec<String> {
    let known = |name: &str| name.starts_with("selvedge-") || LINKED_IN_WASM.contains(&name);
    let strangers = linked.iter().filter(|name| !known(name));
    strangers
        .map(|name| {
            format!(
                "{package} -> {name} would be linked into wasm (`cargo tree -p {package} -i {name}`); \
                 if it is fit for that, add it to LINKED_IN_WASM in xtask/src/rules.rs"
            )
        })
        .collect()
}

/// Crates without the workspace's lints, edge crates that do not forbid unsafe code, and files that lift the lint.
///
/// The compiler finds unsafe blocks better than a search of the text can; what remains to check is that nobody
/// switches it off.
fn unsafe_breaches(workspace: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut sources = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let manifest: toml::Table = toml::from_str(&read(package.manifest_path.as_std_path())?)
            .with_context(|| format!("{} is not TOML", package.manifest_path))?;
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            breaches.push(format!(
                "{} does not inherit the workspace's lints: add `[lints] workspace = true`",
                package.name
            ));
        }
        if let Some(directory) = package.manifest_path.parent() {
            collect_sources(directory.as_std_path(), &mut sources)?;
        }
    }
    for root in FORBID_UNSAFE {
        if !read(&workspace.join(root))?.contains("#![forbid(unsafe_code)]") {
            breaches.push(format!("{root} lacks `#![forbid(unsafe_code)]`"));
        }
    }
    for (path, text) in &sources {
        let path = path.strip_prefix(workspace.to_string_lossy().as_ref()).unwrap_or(path).trim_start_matches('/');
        if lifts_the_lint(text) && !MAY_BE_UNSAFE.iter().any(|(allowed, _)| *allowed == path) {
            breaches.push(format!("{path} allows unsafe code; only these files may: {MAY_BE_UNSAFE:?}"));
        }
    }
    Ok(breaches)
}

/// Whether a source file has an attribute that allows or expects unsafe code.
fn lifts_the_lint(text: &str) -> bool {
    let outer = text.split("#[").skip(1);
    let inner = text.split("#![").skip(1);
    outer.chain(inner).map(|rest| rest.split(']').next().unwrap_or(rest)).any(|attribute| {
        attribute.contains("unsafe_code") && (attribute.contains("allow(") || attribute.contains("expect("))
    })
}

fn collect_sources(directory: &Path, sources: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", directory.display()))?.path();
        if path.is_dir() {
            collect_sources(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.insert(path.to_string_lossy().into_owned(), read(&path)?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_out_of_the_edge_is_refused_even_in_tests() {
        for kind in [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development] {
            assert!(!allowed(&ARROWS, "selvedge-engine", "selvedge-compile", kind));
            assert!(!allowed(&ARROWS, "selvedge-guest", "selvedge-runner", kind));
        }
    }

    #[test]
    fn a_test_may_use_a_neighbour_that_the_crate_itself_may_not() {
        assert!(allowed(&ARROWS, "selvedge-engine", "selvedge-wire", DependencyKind::Development));
        assert!(!allowed(&ARROWS, "selvedge-engine", "selvedge-wire", DependencyKind::Normal));
    }

    #[test]
    fn what_is_reached_through_an_arrow_may_be_named() {
        assert!(allowed(&ARROWS, "selvedge-guest", "selvedge-format", DependencyKind::Normal));
        assert!(!allowed(&ARROWS, "selvedge-wire", "selvedge-guest", DependencyKind::Normal));
    }

    #[test]
    fn a_json_parser_does_not_reach_wasm() {
        let linked = ["selvedge-format", "serde", "serde_json"].map(str::to_owned).into();
        let breaches = linked_breaches("selvedge-guest", &linked);
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].starts_with("selvedge-guest -> serde_json"), "{breaches:?}");
    }

    #[test]
    fn lifting_the_unsafe_lint_is_seen_in_either_form() {
        // Spelled in two parts, or this file would be found as well.
        let attribute =
            |start: &str, level: &str| format!("{start}[{level}(unsafe_code, reason = \"x\")]\nfn f() {{}}");
        assert!(lifts_the_lint(&attribute("#!", "allow")));
        assert!(lifts_the_lint(&attribute("fn g() {}\n    #", "expect")));
        assert!(!lifts_the_lint(&attribute("#!", "forbid")));
        assert!(!lifts_the_lint("//! `unsafe_code` is allowed nowhere"));
    }
}
