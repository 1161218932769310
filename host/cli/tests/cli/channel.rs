//! Publishing, following, going back: in a directory, and at a host that runs as it ships.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::shop::{Shop, TRAINED, assert_shown, transcript};

/// A second bundle: what was bought before counts for less.
fn retrained(shop: &Shop) {
    shop.write("retrained.json", TRAINED.replace("2.0", "-2.0"));
    let compiled = shop.run("compile --model model.toml --trained retrained.json --out retrained.svb");
    assert_eq!(compiled.code, Some(0), "{compiled}");
}

fn with_key(shop: &Shop) -> String {
    let made = shop.run("keygen --out signing.pem");
    assert_eq!(made.code, Some(0), "{made}");
    made.stdout.trim().to_owned()
}

macro_rules! assert_channel {
    ($shown:expr) => {
        assert_shown!(
            $shown,
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "[time]"),
            (r"ed25519:[A-Za-z0-9_-]{43}", "[public key]"),
            (r"svt_[A-Za-z0-9_-]{43}", "[token]"),
            (r"\(\d+ bytes\)", "([n] bytes)"),
            (r" \d+ bytes", " [n] bytes"),
            (r"(\[short id\]) +\d+", "$1 [n]")
        );
    };
}

#[test]
fn keys_and_tokens_are_made_once() {
    let shop = Shop::new();
    assert_channel!(transcript(
        &shop,
        &[
            "keygen --out signing.pem",
            "keygen --out signing.pem",
            "keygen --public signing.pem",
            "keygen --public model.toml",
            "keygen --token",
            "keygen",
        ],
    ));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(shop.path().join("signing.pem")).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    }
}

#[test]
fn a_channel_in_a_directory_goes_forward_and_back() {
    let shop = Shop::new();
    with_key(&shop);
    retrained(&shop);
    assert_channel!(transcript(
        &shop,
        &[
            "channels --to cdn",
            "publish shop bundle.svb --shared shared-state.bin --key signing.pem --to cdn --price autumn=1.25",
            "publish shop retrained.svb --rollout 5% --key signing.pem --to cdn --guard 2%/500",
            "promote shop --share 50% --key signing.pem --to cdn",
            "channels --to cdn",
            "promote shop --key signing.pem --to cdn",
            "rollback shop --key signing.pem --to cdn",
            "rollback shop --kill --key signing.pem --to cdn",
            "rollback shop --revive --key signing.pem --to cdn",
            "promote live --from shop --key signing.pem --to cdn",
            "rollback shop --sequence 4 --key signing.pem --to cdn",
            "channels shop --to cdn",
            "diff shop@1 shop --to cdn --request request.json",
        ],
    ));
    let list = shop.run("channels --to cdn --json").json();
    assert_eq!(list[1]["sequence"], 8);
    assert_eq!(list[1]["prices"][0]["price"], 1.25);
}

#[test]
fn what_cannot_be_published_is_explained() {
    let shop = Shop::new();
    with_key(&shop);
    assert_channel!(transcript(
        &shop,
        &[
            "publish Shop bundle.svb --key signing.pem --to cdn",
            "publish shop model.toml --key signing.pem --to cdn",
            "publish shop bundle.svb --key model.toml --to cdn",
            "publish shop bundle.svb --key signing.pem --to cdn --rollout 5",
            "publish shop bundle.svb --key signing.pem --to cdn --valid 7",
            "publish shop bundle.svb --key signing.pem --to cdn --price autumn",
            "publish shop bundle.svb --key signing.pem --to cdn --price a=1 --price a=2",
            "publish shop --key signing.pem --to cdn",
            "promote shop --key signing.pem --to cdn",
            "rollback shop --key signing.pem --to cdn",
            "channels shop --to cdn",
            "publish shop bundle.svb --key signing.pem --host localhost",
            "publish shop bundle.svb --key signing.pem --host http://127.0.0.1:9",
            "follow shop --key ed25519:abc",
            "serve --config model.toml",
        ],
    ));
}

#[test]
fn a_difference_is_shown_in_files_and_decisions() {
    let shop = Shop::new();
    retrained(&shop);
    let rank = "rank --bundle bundle.svb --shared shared-state.bin --state user-state.bin --request request.json";
    assert_eq!(shop.run(&format!("{rank} --record decisions.log")).code, Some(0));
    assert_channel!(transcript(
        &shop,
        &[
            "diff bundle.svb retrained.svb --request decisions.log --shared shared-state.bin",
            "diff bundle.svb bundle.svb --request request.json",
            "diff bundle.svb retrained.svb --request model.toml",
        ],
    ));
    let report = shop.run("diff bundle.svb retrained.svb --json").json();
    assert_eq!(report["models"][0]["what"], "model 0: bought");
}

/// A host that runs as it ships, and ends with the test.
struct Host {
    child: Child,
    url: String,
}

impl Host {
    fn new(shop: &Shop) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_selvedge"))
            .args(["serve", "--config", "selvedge.toml"])
            .current_dir(shop.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut lines = lines.map(|line| line.expect("a line"));
        let url = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        // Nobody reads on: the pipe holds what a short test makes it say.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("it says where it listens") }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_host_takes_a_bundle_and_an_edge_decides_with_it() {
    let shop = Shop::new();
    let public = with_key(&shop);
    retrained(&shop);
    let token = shop.run("keygen --token").stdout;
    let (token, sha256) = token.split_once('\n').expect("a token and its hash");
    let config = format!(
        "[serve]\nlisten = \"127.0.0.1:0\"\n[[key]]\npublic = \"{public}\"\n[[token]]\nname = \"ci\"\n{sha256}\nscopes = [\"publish\"]\n"
    );
    shop.write("selvedge.toml", config);
    assert_eq!(shop.run("serve --check").code, Some(0));
    let host = Host::new(&shop);
    let with_host =
        |line: &str, token: &str| shop.run_with(&format!("{line} --host {}", host.url), &[("SELVEDGE_TOKEN", token)]);
    let refused = with_host("publish shop bundle.svb --key signing.pem", "svt_wrong");
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("this token is not known here [bad-token, 401]"), "{refused}");
    let published = with_host("publish shop bundle.svb --key signing.pem", token);
    assert_eq!(published.code, Some(0), "{published}");
    assert!(published.stderr.contains("shop: sequence 1, bundle "), "{published}");
    let followed = with_host(&format!("follow shop --key {public} --request request.json --once"), "");
    assert_eq!(followed.code, Some(0), "{followed}");
    assert!(followed.stdout.contains("shop: sequence 1") && followed.stdout.contains("apple"), "{followed}");
    assert_eq!(with_host("publish shop retrained.svb --key signing.pem", token).code, Some(0));
    assert_eq!(with_host("rollback shop --key signing.pem", token).code, Some(0));
    let heads = with_host("channels shop --json", token).json();
    assert_eq!(heads[0]["sequence"], 3);
    assert_eq!(heads[0]["bundle"], heads[2]["bundle"]);
    let diff = with_host("diff shop@2 shop", token);
    assert!(diff.stdout.contains("model 0: bought"), "{diff}");
}

#[cfg(unix)]
#[test]
fn a_host_ends_when_it_is_told_to() {
    let shop = Shop::new();
    shop.write("selvedge.toml", "[serve]\nlisten = \"127.0.0.1:0\"\n");
    let mut host = Host::new(&shop);
    let told = Command::new("kill").args(["-TERM", &host.child.id().to_string()]).status().expect("kill is there");
    assert!(told.success());
    let ended = host.child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));
}
