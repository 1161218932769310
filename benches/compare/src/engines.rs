//! Who takes part, and how each is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::process::{self, GUEST};

/// The engine that ratios are to.
pub(crate) const REFERENCE: &str = "onnxruntime-web";

/// Where an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// `engines/drive.mjs`.
    Node,
    /// `engines/drive.py`.
    Python,
    /// This program.
    Rust,
}

/// What part it has in the contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Ours, scoring.
    Ours,
    /// Somebody else's.
    Peer,
    /// Ours doing more than scoring what lies ready, to see what that costs; its answers are not compared.
    Aside,
}

/// An engine of the contest.
#[derive(Debug)]
pub(crate) struct Engine {
    /// As in the figures.
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    pub(crate) part: Part,
    /// The name of what must be installed.
    pub(crate) needs: &'static str,
}

const fn engine(name: &'static str, host: Host, part: Part, needs: &'static str) -> Engine {
    Engine { name, host, part, needs }
}

/// All of them. Within a round they have their turns in this order.
pub(crate) const ENGINES: [Engine; 17] = [
    engine("onnxruntime-web", Host::Node, Part::Peer, "onnxruntime-web"),
    engine("selvedge-node", Host::Node, Part::Ours, "guest"),
    engine("tract-wasm", Host::Node, Part::Peer, "tract-wasm"),
    engine("selvedge-chromium", Host::Node, Part::Ours, "chromium"),
    engine("tfjs-wasm", Host::Node, Part::Peer, "tfjs-wasm"),
    engine("selvedge-workerd", Host::Node, Part::Ours, "workerd"),
    engine("ydf-inference", Host::Node, Part::Peer, "ydf-inference"),
    engine("selvedge-wasmtime", Host::Rust, Part::Ours, "guest"),
    engine("onnxruntime-node", Host::Node, Part::Peer, "onnxruntime-node"),
    engine("selvedge-native", Host::Rust, Part::Ours, "guest"),
    engine("onnxruntime-native", Host::Python, Part::Peer, "onnxruntime"),
    engine("lightgbm", Host::Python, Part::Peer, "lightgbm"),
    engine("xgboost", Host::Python, Part::Peer, "xgboost"),
    engine("catboost", Host::Python, Part::Peer, "catboost"),
    engine("lleaves", Host::Python, Part::Peer, "lleaves"),
    engine("selvedge-node-score", Host::Node, Part::Aside, "guest"),
    engine("selvedge-node-decide", Host::Node, Part::Aside, "guest"),
];

/// What is installed, by the name that engines need it under.
#[derive(Debug, Deserialize)]
pub(crate) struct Installed {
    /// Found, or the reason why not.
    pub(crate) peers: BTreeMap<String, Found>,
    /// Paths of Python packages that several libraries share.
    pub(crate) python: Vec<PathBuf>,
}

/// An installation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Found {
    /// Where it is, and of which version.
    At {
        /// A folder; for `guest` the module.
        path: PathBuf,
        /// Its version, where the package does not say.
        version: String,
    },
    /// Why it is not there.
    Missing(String),
}

impl Engine {
    /// The command that runs it on a workload.
    pub(crate) fn command(&self, installed: &Installed, scripts: &Path, workload: &Path) -> Result<Command> {
        let (path, version) = installed.of(self.needs)?;
        let environment = self.environment(installed, path, version)?;
        let mut command = match self.host {
            Host::Node => process::command("node", &environment),
            Host::Python => process::command("python3", &environment),
            Host::Rust => process::command(std::env::current_exe().context("this program is nowhere")?, &environment),
        };
        match self.host {
            Host::Node => command.arg(scripts.join("drive.mjs")),
            Host::Python => command.arg(scripts.join("drive.py")),
            Host::Rust => command.arg("drive"),
        };
        command.arg(self.name).arg(workload);
        Ok(command)
    }

    fn environment(&self, installed: &Installed, path: &Path, version: &str) -> Result<Vec<(&'static str, String)>> {
        let text = |path: &Path| path.display().to_string();
        let mut environment = vec![("PEER", text(path)), ("VERSION", version.to_owned())];
        if self.part != Part::Peer {
            environment.push((GUEST, text(installed.of("guest")?.0)));
        }
        if self.host == Host::Python {
            let all = installed.python.iter().map(PathBuf::as_path).chain([path]);
            environment.push(("PYTHONPATH", all.map(text).collect::<Vec<_>>().join(":")));
        }
        Ok(environment)
    }
}

impl Installed {
    /// Where something is, and of which version.
    pub(crate) fn of(&self, name: &str) -> Result<(&Path, &str)> {
        match self.peers.get(name) {
            Some(Found::At { path, version }) => Ok((path, version)),
            Some(Found::Missing(reason)) => bail!("{reason}"),
            None => bail!("{name} was not installed"),
        }
    }
}
