//! Assignment: numbers that say which user gets what, the same every time they are asked for.
//!
//! Two kinds, for two needs:
//!
//! - [`draw`] is **keyed**. Holdout and exploration of offers come from it, so whoever could compute it could look
//!   for a user name that gets the large coupon. The secret is the host's and the Worker's; browsers never have it,
//!   and a preview in a page therefore cannot reproduce the draw. One user has one draw per campaign and epoch:
//!   asking again does not roll the dice again.
//! - [`bucket`] is **public**. Experiments on feeds have nothing to hide, and everybody who evaluates one must be
//!   able to compute who was in which arm. It is version 2 of GrowthBook's hash, so an experiment that is set up
//!   there means the same users here ([specification](https://docs.growthbook.io/lib/build-your-own#hashing), vectors
//!   in `cases.json` of its SDKs). A hash of another construction would be another function, never a changed one.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Keeps a message of one purpose from being one of another.
const DRAW: &[u8] = b"selvedge draw v1\n";
const USER: &[u8] = b"selvedge user v1\n";
/// Buckets of [`bucket`].
pub const BUCKETS: u32 = 10_000;

/// HMAC-SHA256 (RFC 2104) of some parts.
pub(crate) fn mac(secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The first 128 bits of a code.
fn first_half(mac: Hmac<Sha256>) -> [u8; 16] {
    let code = mac.finalize().into_bytes();
    std::array::from_fn(|at| code[at])
}

/// 128 bits for a user, a campaign and an epoch, the id of the request that decides on an offer: HMAC-SHA256 over
/// `selvedge draw v1`, a line feed, the user and the campaign, each after its length in bytes as `u32`, and the epoch
/// as `i64`, little-endian; of the code, the first 16 bytes. The lengths keep `("ab", "c")` and `("a", "bc")` apart.
#[must_use]
pub fn draw(secret: &[u8], user: &str, campaign: &str, epoch: i64) -> [u8; 16] {
    let length = |text: &str| (text.len() as u32).to_le_bytes();
    let numbers = (length(user), length(campaign), epoch.to_le_bytes());
    first_half(mac(secret, &[DRAW, &numbers.0, user.as_bytes(), &numbers.1, campaign.as_bytes(), &numbers.2]))
}

/// The number of the epoch at `time_ms`, for epochs of `epoch_s` seconds since 1970-01-01 UTC. With 0 there is one, 0.
#[must_use]
pub const fn epoch(time_ms: i64, epoch_s: u32) -> i64 {
    if epoch_s == 0 { 0 } else { time_ms.div_euclid(epoch_s as i64 * 1000) }
}

/// What tokens name a user by: the first 16 bytes of HMAC-SHA256 over `selvedge user v1`, a line feed and the user.
/// It tells whoever sees a token nothing about the user, and cannot be looked up without the secret.
#[must_use]
pub fn subject(secret: &[u8], user: &str) -> [u8; 16] {
    first_half(mac(secret, &[USER, user.as_bytes()]))
}

/// Whether `subject` is that of `user`, in constant time.
#[must_use]
pub fn is_subject(secret: &[u8], user: &str, subject: &[u8; 16]) -> bool {
    mac(secret, &[USER, user.as_bytes()]).verify_truncated_left(subject).is_ok()
}

/// Which of [`BUCKETS`] buckets a user is in, in an experiment with that seed:
/// `fnv1a32(str(fnv1a32(seed + user))) mod 10000`, over UTF-16 code units, as GrowthBook's JavaScript does. Below
/// `0.3 * BUCKETS` are three tenths of the users.
#[must_use]
pub fn bucket(seed: &str, user: &str) -> u32 {
    let inner = fnv1a32(seed.encode_utf16().chain(user.encode_utf16()));
    fnv1a32(inner.to_string().encode_utf16()) % BUCKETS
}

/// [FNV-1a](https://datatracker.ietf.org/doc/html/draft-eastlake-fnv) with 32 bits.
fn fnv1a32(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0x811c_9dc5, |hash, unit| (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of the shop";

    #[test]
    fn the_bucket_is_that_of_the_published_cases() {
        // `hash` in packages/sdk-js/test/cases.json of github.com/growthbook/growthbook, version 2.
        let published = [
            ("seed", "a", 0.0505),
            ("seed", "b", 0.2696),
            ("foo", "ab", 0.2575),
            ("foo", "def", 0.2019),
            ("89123klj", "8952klfjas09ujkasdf", 0.124),
            ("90850943850283058242805", "123", 0.7516),
            ("()**(%$##$%#$#", "___)((*\":&", 0.0128),
        ];
        for (seed, user, value) in published {
            assert_eq!(f64::from(bucket(seed, user)) / f64::from(BUCKETS), value, "{seed} {user}");
        }
    }

    #[test]
    fn buckets_are_about_equally_full() {
        let mut tenths = [0_u32; 10];
        (0..20_000).for_each(|user| tenths[bucket("spring", &format!("user-{user}")) as usize / 1000] += 1);
        // 2,000 expected, with a deviation of 42.
        assert!(tenths.iter().all(|count| count.abs_diff(2000) < 200), "{tenths:?}");
    }

    #[test]
    fn a_draw_depends_on_each_of_its_parts() {
        let one = draw(SECRET, "ab", "c", 1);
        assert_eq!(one, draw(SECRET, "ab", "c", 1));
        let others = [
            draw(b"another secret", "ab", "c", 1),
            draw(SECRET, "a", "bc", 1),
            draw(SECRET, "ab", "d", 1),
            draw(SECRET, "ab", "c", 2),
            draw(SECRET, "ab", "c", -1),
            subject(SECRET, "ab"),
        ];
        assert!(others.iter().all(|other| *other != one));
    }

    #[test]
    fn a_subject_is_recognised_with_the_secret_alone() {
        let of = subject(SECRET, "u1");
        assert!(is_subject(SECRET, "u1", &of));
        assert!(!is_subject(SECRET, "u2", &of));
        assert!(!is_subject(b"another secret", "u1", &of));
        assert!(!is_subject(SECRET, "u1", &subject(SECRET, "")));
    }

    #[test]
    fn an_epoch_begins_with_its_first_millisecond() {
        assert_eq!([-1, 0, 59_999, 60_000].map(|time_ms| epoch(time_ms, 60)), [-1, 0, 0, 1]);
        assert_eq!(epoch(1_795_545_000_000, 0), 0);
        assert_eq!(epoch(i64::MAX, u32::MAX), i64::MAX / (i64::from(u32::MAX) * 1000));
    }
}
