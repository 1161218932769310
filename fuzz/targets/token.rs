//! Offer tokens: whatever is shown is refused by name, and claims that are believed have one form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_fuzz::offer;
use selvedge_offer::token::{mint, verify};

fuzz_target!(|data: &[u8]| {
    let (key, keys) = offer::keys();
    let believed = |token: &str| verify(token, &keys, offer::AUDIENCE, offer::ISSUER, offer::NOW_S, offer::SKEW_S);
    // As a token: nobody can guess a signature.
    if let Ok(token) = std::str::from_utf8(data) {
        assert!(believed(token).is_err(), "this was never signed");
    }
    // As claims of one who has the key: past the signature.
    if let Ok(claims) = believed(&offer::signed(&key, data)) {
        let again = mint(&key, &claims).expect("what is believed can be minted");
        assert_eq!(believed(&again).as_ref(), Ok(&claims));
    }
});
