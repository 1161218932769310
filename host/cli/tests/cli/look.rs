//! `inspect`: every kind of file, and every kind of damage.

use selvedge_format::record::RecordView;

use crate::shop::{Shop, assert_shown, transcript};

#[test]
fn each_kind_of_file_is_shown() {
    let shop = Shop::new();
    let rank = "rank --bundle bundle.svb --shared shared-state.bin --state user-state.bin --request request.json";
    let ranked = shop.run(&format!("{rank} --reasons 2 --record decisions.log"));
    assert_eq!(ranked.code, Some(0), "{ranked}");
    let log = shop.read("decisions.log");
    let (RecordView::Full { request, decision }, _) = RecordView::read(&log).expect("a record") else {
        panic!("`rank` records requests as well");
    };
    shop.write("request.svrq", request);
    shop.write("decision.svdc", decision);
    assert_shown!(transcript(
        &shop,
        &[
            "inspect bundle.svb",
            "inspect shared-state.bin",
            "inspect user-state.bin",
            "inspect user-state.bin --bundle bundle.svb",
            "inspect request.svrq --bundle bundle.svb",
            "inspect decision.svdc --bundle bundle.svb",
            "inspect decisions.log",
        ],
    ));
}

#[test]
fn each_kind_of_file_has_a_form_for_scripts() {
    let shop = Shop::new();
    let kinds = [("bundle.svb", "bundle"), ("shared-state.bin", "shared_state"), ("user-state.bin", "user_state")];
    for (file, kind) in kinds {
        assert_eq!(shop.run(&format!("inspect {file} --json")).json()["kind"], kind);
    }
    let state = shop.run("inspect user-state.bin --bundle bundle.svb --json").json();
    assert_eq!(state["devices"][0]["tables"][0]["name"], "purchase by item");
    assert_eq!(state["devices"][0]["tables"][0]["totals"][0], 4.0);
}

#[test]
fn standard_input_can_be_inspected() {
    let shop = Shop::new();
    let shown = shop.feed("inspect -", &shop.read("bundle.svb"));
    assert_eq!(shown.stdout, shop.run("inspect bundle.svb").stdout);
}

#[test]
fn damaged_and_foreign_files_are_refused_with_what_to_do() {
    let shop = Shop::new();
    let bundle = shop.read("bundle.svb");
    let mut flipped = bundle.clone();
    flipped[200] ^= 4;
    let mut newer = bundle.clone();
    newer[8] = 9;
    let state = shop.read("user-state.bin");
    shop.write("cut.svb", &bundle[..bundle.len() / 2]);
    shop.write("stub.svb", &bundle[..20]);
    shop.write("flipped.svb", flipped);
    shop.write("newer.svb", newer);
    shop.write("cut-state.bin", &state[..state.len() - 7]);
    shop.write("empty", "");
    assert_shown!(transcript(
        &shop,
        &[
            "inspect cut.svb",
            "inspect stub.svb",
            "inspect flipped.svb",
            "inspect newer.svb",
            "inspect cut-state.bin",
            "inspect empty",
            "inspect request.json",
        ],
    ));
}

#[test]
fn no_damage_to_a_bundle_goes_unseen() {
    let shop = Shop::new();
    let bundle = shop.read("bundle.svb");
    // Each bit of a byte here and there; the format's own tests flip all of them.
    for at in (0..bundle.len()).step_by(bundle.len() / 24) {
        let mut damaged = bundle.clone();
        damaged[at] ^= 1 << (at % 8);
        let shown = shop.feed("inspect -", &damaged);
        assert_eq!(shown.code, Some(3), "byte {at}: {shown}");
    }
}
