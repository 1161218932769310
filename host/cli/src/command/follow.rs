//! `selvedge follow`: an edge on this machine, to see what edges see.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Args;
use selvedge_follow::client::{Event, FollowOptions, Follower, Prepare};
use selvedge_format::decision::DecisionView;
use selvedge_runner::Instance;
use selvedge_wire::json;

use crate::bundle::{BundleFile, SharedFile, short};
use crate::error::{CliError, Exit};
use crate::file;
use crate::guest::{GuestArgs, failed};
use crate::printer::Printer;
use crate::registry::{describe, duration, host_of, public_keys};
use crate::show;

/// Follow a channel as an edge does, and tell of every head; with a request, decide it with each.
///
/// Heads are checked as everywhere: key, signature, validity, sequence. What is fetched is loaded into the sandbox before it
/// replaces what was there.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// The channel.
    channel: String,
    /// The host; otherwise $SELVEDGE_HOST, or http://127.0.0.1:7070.
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// A public key whose heads are believed; may be given several times.
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<String>,
    /// The bundle that decides until the host was heard.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The shared state that goes with it.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    shared: Option<PathBuf>,
    /// Where the last good bundle is kept over a restart.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Time between two questions, where no stream of events is held.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    poll: Duration,
    /// Ask again and again instead of holding a stream of events.
    #[arg(long)]
    no_stream: bool,
    /// A request as JSON, decided with every head.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Whose request it is: a rollout asks.
    #[arg(long, value_name = "ID", default_value = "")]
    user: String,
    /// End after the first head that is in force.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    guest: GuestArgs,
}

/// What decides, with the names that show it.
struct Deployed {
    instance: Mutex<Instance>,
    bundle: BundleFile,
}

pub(crate) fn run(args: &FollowArgs, printer: &Printer) -> Result<(), CliError> {
    let module = args.guest.module()?;
    let limits = args.guest.limits();
    let bootstrap = match &args.bundle {
        None => None,
        Some(path) => {
            let shared = args.shared.as_deref().map(SharedFile::read).transpose()?;
            Some((BundleFile::read(path)?.bytes, shared.map(|shared| shared.bytes)))
        }
    };
    let options = FollowOptions {
        bootstrap,
        directory: args.directory.clone(),
        poll_ms: u64::try_from(args.poll.as_millis()).unwrap_or(u64::MAX),
        stream: !args.no_stream,
        ..FollowOptions::new(host_of(args.host.as_deref()), &args.channel, public_keys(&args.key)?)
    };
    let prepare: Prepare<Deployed> = Box::new(move |bundle, shared| {
        let mut instance = Instance::new(&module, limits);
        instance.load(bundle).map_err(|error| error.to_string())?;
        if let Some(shared) = shared {
            instance.load_shared(shared).map_err(|error| error.to_string())?;
        }
        let bundle = BundleFile::parse(bundle.to_vec()).map_err(|error| error.to_string())?;
        Ok(Deployed { instance: Mutex::new(instance), bundle })
    });
    let (send, events) = channel();
    let follower = Follower::start(options, prepare, move |event| drop(send.send(event)));
    let follower = follower.map_err(|error| CliError::new(Exit::Usage, error))?;
    for event in events {
        match event {
            Event::Deployed { .. } => {
                let Some(current) = follower.current() else { continue };
                let Some(head) = &current.head else { continue };
                printer.data(format_args!("{}: {}", head.channel, describe(head)));
                if let (Some(path), false) = (&args.request, head.killed) {
                    let fell_back = decide(current.for_user(&args.user), path, printer)?;
                    follower.decided(fell_back);
                }
                if args.once {
                    return Ok(());
                }
            }
            Event::Refused(refusal) => printer.warn(format_args!("refused: {refusal} [{}]", refusal.code())),
            Event::Unreachable(error) => printer.warn(format_args!("not reached: {error}")),
            Event::RolledBack { sequence } => {
                printer.warn(format_args!("sequence {sequence} is given up: too many decisions fell back"));
            }
            Event::NotSaved(error) => printer.warn(format_args!("the last good bundle: {error}")),
            _ => {}
        }
    }
    Ok(())
}

/// Decides the request; whether it fell back.
fn decide(deployed: &Deployed, path: &std::path::Path, printer: &Printer) -> Result<bool, CliError> {
    let bytes = file::read(path, file::MAX_BYTES)?;
    let request = json::request(&bytes, &deployed.bundle.program)
        .map_err(|error| CliError::new(Exit::Usage, format_args!("{}: {error}", path.display())))?;
    let mut instance = deployed.instance.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let decided = instance.decide(&request.bytes).map_err(|error| failed(&error, path))?;
    let view = DecisionView::parse(decided.decision).map_err(|error| super::rank::malformed(&error))?;
    let decision = json::decision(&view, &request.ids, &deployed.bundle.names);
    printer.data(show::decision_text(&decision).trim_end());
    printer.say(format_args!("decided by bundle {}", short(&deployed.bundle.id)));
    Ok(decision.status == "fallback")
}
