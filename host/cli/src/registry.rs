//! Where channels are kept: a host, asked over HTTP, or a directory of files to be served by something else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SpanRelativeTo, Timestamp};
use selvedge_follow::Keys;
use selvedge_follow::client::Api;
use selvedge_format::container::ContentId;
use selvedge_format::head::{BlobV1, HeadV1, HeadView, SHARE};
use selvedge_sync::channel::{ChannelError, ChannelOptions, Channels};
use selvedge_sync::directory::DirectoryStore;
use selvedge_sync::key::SigningKey;
use selvedge_sync::publish::{self, Change, Terms};

use crate::bundle::short;
use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::Printer;

/// Names the host where no argument does.
const HOST_VARIABLE: &str = "SELVEDGE_HOST";
/// Holds the token, which has no place among arguments that everyone on the machine can read.
pub(crate) const TOKEN_VARIABLE: &str = "SELVEDGE_TOKEN";
const DEFAULT_HOST: &str = "http://127.0.0.1:7070";
/// Heads of a channel that are looked at to find the one to go back to.
pub(crate) const HISTORY: usize = 1000;

/// Where the channels are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct RegistryArgs {
    /// The host; otherwise $SELVEDGE_HOST, or http://127.0.0.1:7070. $SELVEDGE_TOKEN holds the token.
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// A directory instead of a host: channels/NAME/head and blobs/ID, for an object store or a web server.
    #[arg(long, value_name = "DIR", conflicts_with = "host")]
    to: Option<PathBuf>,
}

/// Who signs, and for how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signature")]
pub(crate) struct SigningArgs {
    /// The private key that signs the head, as `selvedge keygen` made it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// How long edges believe the head, such as 12h or 7d.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    valid: Duration,
}

impl SigningArgs {
    /// Reads the key.
    pub(crate) fn read(&self) -> Result<SigningKey, CliError> {
        let pem = file::read_text(&self.key)?;
        SigningKey::from_pem(&pem).map_err(|error| {
            CliError::new(Exit::Usage, format_args!("{}: {error}", self.key.display()))
                .hint("`selvedge keygen` makes a key; OpenSSL's `genpkey -algorithm ed25519` does as well")
        })
    }

    /// Terms of a head that keeps prices and guard.
    pub(crate) fn terms(&self) -> Terms {
        Terms { valid_ms: i64::try_from(self.valid.as_millis()).unwrap_or(i64::MAX), ..Terms::default() }
    }
}

/// Channels and blobs, wherever they are.
pub(crate) enum Registry {
    Host { api: Box<Api>, url: String },
    Directory { channels: Channels, path: PathBuf },
}

/// The host that is meant.
pub(crate) fn host_of(named: Option<&str>) -> String {
    let named = named.map(str::to_owned).or_else(|| std::env::var(HOST_VARIABLE).ok());
    named.unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

impl RegistryArgs {
    /// Opens it; in a directory, heads of `key` alone are taken.
    pub(crate) fn open(&self, key: Option<&SigningKey>) -> Result<Registry, CliError> {
        if let Some(path) = &self.to {
            let keys = Keys::new(key.map(SigningKey::public));
            let store = Arc::new(DirectoryStore::new(path));
            let channels = Channels::open(store, keys, ChannelOptions::default()).map_err(|error| refused(&error))?;
            return Ok(Registry::Directory { channels, path: path.clone() });
        }
        let url = host_of(self.host.as_deref());
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let api = Api::new(&url, token).map_err(|error| from_host(&url, &error))?;
        Ok(Registry::Host { api: Box::new(api), url })
    }
}

impl Registry {
    /// The newest head of each channel.
    pub(crate) fn list(&self) -> Result<Vec<HeadV1>, CliError> {
        match self {
            Self::Host { api, url } => api.channels().map_err(|error| from_host(url, &error)),
            Self::Directory { channels, .. } => {
                Ok(channels.list().iter().map(|published| published.head.clone()).collect())
            }
        }
    }

    /// The newest head of a channel, if it has one.
    pub(crate) fn head(&self, channel: &str) -> Result<Option<HeadV1>, CliError> {
        match self {
            Self::Host { api, url } => {
                let head = api.head(channel).map_err(|error| from_host(url, &error))?;
                head.as_deref().map(read_head).transpose()
            }
            Self::Directory { channels, .. } => Ok(channels.head(channel).map(|published| published.head.clone())),
        }
    }

    /// The newest heads of a channel, newest first.
    pub(crate) fn history(&self, channel: &str) -> Result<Vec<HeadV1>, CliError> {
        match self {
            Self::Host { api, url } => api.history(channel).map_err(|error| from_host(url, &error)),
            Self::Directory { channels, .. } => {
                let heads = channels.history(channel, HISTORY).map_err(|error| refused(&error))?;
                Ok(heads.into_iter().map(|published| published.head).collect())
            }
        }
    }

    /// A stored container.
    pub(crate) fn blob(&self, id: &ContentId) -> Result<Option<Vec<u8>>, CliError> {
        match self {
            Self::Host { api, url } => api.blob(id).map_err(|error| from_host(url, &error)),
            Self::Directory { channels, .. } => {
                let blob = channels.blob(id).map_err(|error| refused(&error))?;
                Ok(blob.map(|blob| blob.plain.to_vec()))
            }
        }
    }

    /// Stores a container, unless it is there.
    pub(crate) fn put_blob(&self, id: &ContentId, bytes: &[u8]) -> Result<BlobV1, CliError> {
        let size = u32::try_from(bytes.len())
            .map_err(|_| CliError::new(Exit::Refused, format_args!("{} bytes are too many", bytes.len())))?;
        match self {
            Self::Host { api, url } => {
                let failed = |error| from_host(url, &error);
                if !api.has_blob(id).map_err(failed)? {
                    api.put_blob(id, bytes).map_err(failed)?;
                }
            }
            Self::Directory { channels, .. } => channels.put_blob(id, bytes).map_err(|error| refused(&error))?,
        }
        Ok(BlobV1 { id: *id, size })
    }

    /// Makes the next head of a channel, signs and publishes it, and says so.
    pub(crate) fn publish(
        &self,
        channel: &str,
        change: Change<'_>,
        terms: &Terms,
        key: &SigningKey,
        printer: &Printer,
    ) -> Result<(), CliError> {
        let previous = self.head(channel)?;
        let now_ms = Timestamp::now().as_millisecond();
        let head = publish::next(channel, previous.as_ref(), change, terms, now_ms)
            .map_err(|error| CliError::new(Exit::Usage, format_args!("channel {channel}: {error}")))?;
        let bytes = key.sign(&head).map_err(|error| {
            CliError::new(Exit::Usage, format_args!("channel {channel}: {error}"))
                .hint("names are 1 to 64 of a-z, 0-9, '.', '_' and '-'")
        })?;
        match self {
            Self::Host { api, url } => api.put_head(channel, &bytes).map_err(|error| from_host(url, &error))?,
            Self::Directory { channels, .. } => {
                channels.put(channel, &bytes, now_ms).map_err(|error| refused(&error))?;
            }
        }
        printer.say(format_args!("{}: {}, in {}", channel, describe(&head), self.place()));
        Ok(())
    }

    /// Where this is, for messages.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Host { url, .. } => url.clone(),
            Self::Directory { path, .. } => path.display().to_string(),
        }
    }

    /// There is no such channel here.
    pub(crate) fn no_channel(&self, channel: &str) -> CliError {
        CliError::new(Exit::Usage, format_args!("there is no channel {channel} in {}", self.place()))
            .hint("`selvedge channels` lists them; `selvedge publish` makes one")
    }
}

/// A head in a line.
pub(crate) fn describe(head: &HeadV1) -> String {
    let mut text =
        format!("sequence {}, bundle {} ({} bytes)", head.sequence, short(&head.bundle.id), head.bundle.size);
    if let Some(shared) = &head.shared {
        text.push_str(&format!(", shared state {}", short(&shared.id)));
    }
    if let Some(rollout) = &head.rollout {
        text.push_str(&format!(", bundle {} for {}", short(&rollout.bundle.id), percent(rollout.share)));
    }
    if head.killed {
        text.push_str(", killed");
    }
    text.push_str(&format!(", believed until {}", time(head.not_after_ms)));
    text
}

/// A time as people read it.
pub(crate) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.strftime("%F %TZ").to_string())
}

/// A share as people write it.
pub(crate) fn percent(share: u16) -> String {
    format!("{} %", f64::from(share) * 100.0 / f64::from(SHARE))
}

/// Parses a share such as `2.5%`.
pub(crate) fn share(text: &str) -> Result<u16, String> {
    let number = text.strip_suffix('%').map(str::trim).and_then(|number| number.parse::<f64>().ok());
    let share = number.map(|number| number * f64::from(SHARE) / 100.0);
    match share {
        Some(share) if (0.0..=f64::from(SHARE)).contains(&share) && (share - share.round()).abs() < 1e-6 => {
            Ok(share.round() as u16)
        }
        _ => Err("a share is a number of percent such as 5% or 0.25%, in steps of 0.01%".to_owned()),
    }
}

/// Parses a time such as `90s` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span =
        text.parse().map_err(|error: jiff::Error| format!("{error}; a time is such as 90s, 12h, 7d"))?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a time is above 0".to_owned())
}

/// Reads public keys as arguments give them.
pub(crate) fn public_keys(texts: &[String]) -> Result<Keys, CliError> {
    let mut keys = Vec::new();
    for text in texts {
        keys.push(text.parse().map_err(|error| {
            CliError::new(Exit::Usage, format_args!("{text}: {error}"))
                .hint("`selvedge keygen --public FILE` prints the public half of a key")
        })?);
    }
    Ok(Keys::new(keys))
}

/// Reads a head that a registry holds. Its signature is the followers' matter.
fn read_head(bytes: &[u8]) -> Result<HeadV1, CliError> {
    let view = HeadView::parse(bytes)
        .map_err(|error| crate::bundle::refused("channel head", Path::new("the answer"), &error))?;
    Ok(view.head)
}

pub(crate) fn from_host(url: &str, error: &selvedge_follow::client::ApiError) -> CliError {
    let exit = if error.is_refusal() { Exit::Refused } else { Exit::Io };
    let failed = CliError::new(exit, format_args!("{url}: {error}"));
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn refused(error: &ChannelError) -> CliError {
    let exit = if matches!(error, ChannelError::Store(_)) { Exit::Io } else { Exit::Refused };
    CliError::new(exit, format_args!("{error} [{}]", error.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_in_steps_that_a_head_can_hold() {
        assert_eq!(share("5%"), Ok(500));
        assert_eq!(share("0.25 %"), Ok(25));
        assert_eq!(share("100%"), Ok(SHARE));
        for text in ["5", "0.001%", "101%", "-1%", "%", "NaN%"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(percent(25), "0.25 %");
    }

    #[test]
    fn times_are_written_with_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for text in ["", "7", "0s", "-1h", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
