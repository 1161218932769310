//! The report as a file: complete, inert, and safe with whatever names the data contain.

use selvedge_train::bootstrap::Interval;
use selvedge_train::report::{
    Bought, Difference, Fact, Figure, Fold, Headline, Household, Importance, Latency, Method, Quality, Reason, Report,
    Shown, Size, Stage,
};

/// A name that would break out of an element, an attribute, or a style sheet if anything were pasted.
const HOSTILE: &str = "</style><script src=//evil.example/x.js>alert(1)</script>\" onload='x' & <img src=x>";

fn text(s: &str) -> String {
    s.to_owned()
}

fn interval(mean: f64, half: f64) -> Interval {
    Interval { mean, low: mean - half, high: mean + half * 1.1 }
}

fn shown(place: usize, bought: bool) -> Shown {
    const NAMES: [(&str, &str); 6] = [
        ("Soft drinks: 2 liter bottles", "National · 67.6 OZ"),
        ("Strawberries", "National · 16 OZ"),
        ("Fluid milk, white only", "Private · 1 GA"),
        ("Ice cream, premium pints", "National · 16 OZ"),
        ("Potato chips", "National · 11.5 OZ"),
        ("Mainstream white bread", "Private · 20 OZ"),
    ];
    let (name, detail) = NAMES[place % NAMES.len()];
    Shown {
        name: text(name),
        detail: text(detail),
        bought,
        flyer_place: (place * 37) % 200 + 1,
        reasons: Vec::new(),
        rules: Vec::new(),
    }
}

fn household(name: &str) -> Household {
    let after = (0..10).map(|place| {
        let strength = 1.8 / (1.0 + place as f64);
        let reason = |label: &str, contribution| Reason { label: text(label), contribution };
        Shown {
            reasons: vec![
                reason("bought it in 4 of the last 8 weeks", strength),
                reason("last bought 9 days ago", 0.4 * strength),
                reason("bought this category 11 times", 0.2 * strength),
                reason("seldom bought by others", -0.3 * strength),
            ],
            rules: if place == 4 { vec![text("moved down: at most 3 of one brand")] } else { Vec::new() },
            ..shown(place, [0, 1, 5].contains(&place))
        }
    });
    Household {
        name: text(name),
        note: text("NDCG@10 0.07 in flyer order, 0.91 personalized. 212 earlier purchases."),
        candidates: 200,
        before: (10..20).map(|place| shown(place, place == 13)).collect(),
        after: after.collect(),
        bought: [(4, 6), (38, 1), (75, 2), (171, 24)].map(|(before, after)| Bought { before, after }).to_vec(),
    }
}

fn sample() -> Report {
    let method = |name: &str, ours, means: [f64; 4]| Method {
        name: text(name),
        ours,
        values: means.map(|mean| interval(mean, 0.017)).to_vec(),
    };
    let difference = |against: &str, means: [f64; 4]| Difference {
        against: text(against),
        values: means.map(|mean| interval(mean, 0.009)).to_vec(),
    };
    let stage = |name: &str, median_us, p99_us| Stage { name: text(name), median_us, p99_us };
    let figure = |name: &str, value, unit: &str| Figure {
        name: text(name),
        value,
        unit: text(unit),
        command: text("cargo xtask demo --json figures.json"),
    };
    let headline =
        |label: &str, value: &str, note: &str| Headline { value: text(value), label: text(label), note: text(note) };
    let fact = |label: &str, value: &str| Fact { label: text(label), value: text(value) };
    Report {
        title: text("A year of shopping, reranked at the edge"),
        lede: text(
            "Weekly flyers of the Complete Journey, put in a personal order for households that the model never saw, in a WebAssembly module under wasmtime.",
        ),
        headlines: vec![
            headline("NDCG@10, unseen households", "0.684", "repeat purchases alone: 0.660"),
            headline("Gain over repeat purchases", "+0.024", "95 % interval +0.015 to +0.034"),
            headline("One decision, 200 candidates", "268 µs", "99 % within 448 µs"),
            headline("Engine module, gzip", "41 KB", "and a bundle of 96 KB"),
        ],
        run: vec![
            fact("Data", "Complete Journey, 2,469 households, 1,469,307 purchases in 2017"),
            fact("Training", "weeks 9 to 39, 12,975 queries"),
            fact("Test", "weeks 49 to 52, 1,649 queries in five folds of unseen households"),
            fact("Left out", "7,826 household weeks without a relevant candidate, 382 without a flyer"),
        ],
        quality: Quality {
            note: text(
                "Each query is one household facing one week's front page; relevant is what it bought that week. Households in the test were unseen.",
            ),
            measures: ["NDCG@10", "MAP", "MRR", "Recall@10"].map(text).to_vec(),
            methods: vec![
                method("flyer order", false, [0.043, 0.031, 0.037, 0.051]),
                method("4-week popularity", false, [0.489, 0.431, 0.452, 0.642]),
                method("household's repeat count", false, [0.660, 0.612, 0.641, 0.781]),
                method("Selvedge, linear", true, [0.668, 0.619, 0.649, 0.794]),
                method("Selvedge, trees", true, [0.684, 0.633, 0.662, 0.812]),
            ],
            differences: vec![
                difference("flyer order", [0.641, 0.602, 0.625, 0.761]),
                difference("4-week popularity", [0.195, 0.202, 0.210, 0.170]),
                difference("household's repeat count", [0.024, 0.021, 0.021, 0.031]),
            ],
            folds: (0..5)
                .map(|fold| Fold {
                    name: format!("fold {fold}"),
                    queries: 313 + 7 * fold,
                    values: [0.043, 0.489, 0.660, 0.668, 0.684].map(|v| v + 0.003 * fold as f64).to_vec(),
                    difference: interval(0.012 + 0.004 * fold as f64, 0.014),
                    against: text("household's repeat count"),
                })
                .collect(),
        },
        latency: Some(Latency {
            note: text("Under wasmtime with fuel and memory limits on; 200 candidates, 200 trees."),
            total: stage("whole decision", 268.0, 448.0),
            stages: vec![
                stage("features", 61.0, 102.0),
                stage("model", 174.0, 263.0),
                stage("slate", 24.0, 46.0),
                stage("call and codec", 9.4, 21.0),
            ],
            decisions_us: (0..4_000)
                .map(|i| {
                    let wave = f64::from(i * 7_919 % 4_000) / 4_000.0;
                    180.0 + 60.0 * wave + 190.0 * wave.powi(24) + 9.0 * f64::from(i % 13)
                })
                .collect(),
        }),
        sizes: vec![
            Size { name: text("guest module"), bytes: 98_304, gzip_bytes: 41_022 },
            Size { name: text("bundle, trees"), bytes: 214_512, gzip_bytes: 96_311 },
        ],
        households: ["Household 1228, week 50", "Household 71, week 49", "Household 2042, week 52"]
            .map(household)
            .to_vec(),
        importances: [
            ("user_item_decayed_count", 0.412),
            ("user_item_recency", 0.198),
            ("item_bought_28d", 0.131),
            ("user_category_share", 0.087),
            ("user_type_share", 0.061),
            ("item_rate", 0.04),
            ("candidates", 0.004),
        ]
        .map(|(feature, share)| Importance { feature: text(feature), share })
        .to_vec(),
        figures: vec![
            figure("ndcg10.unseen.selvedge", 0.684_21, ""),
            figure("decision.median_us", 268.4, "µs"),
            figure("fuel.decision", 1_204_331.0, "fuel"),
        ],
    }
}

/// The inline drawings of a page.
fn drawings(html: &str) -> Vec<&str> {
    html.match_indices("<svg")
        .map(|(at, _)| {
            let end = html[at..].find("</svg>").expect("every drawing is closed");
            &html[at..at + end + "</svg>".len()]
        })
        .collect()
}

#[test]
fn the_page_is_complete_and_kept_for_reading() {
    let html = sample().to_html();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
    for expected in ["NDCG@10", "household&#39;s repeat count", "Household 71", "fuel.decision"] {
        let plain = expected.replace("&#39;", "'");
        assert!(html.contains(expected) || html.contains(&plain), "{expected}");
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    std::fs::write(path, html).expect("the target directory is writable");
}

#[test]
fn the_page_asks_the_network_for_nothing_and_runs_nothing() {
    let html = sample().to_html();
    for fetching in ["http://", "https://", " src=", " href=", "url(", "@import", "<script", "<link"] {
        assert!(!html.contains(fetching), "{fetching}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn hostile_names_stay_text() {
    let mut report = sample();
    report.title = text(HOSTILE);
    report.households[0].name = text(HOSTILE);
    report.households[0].after[0].name = text(HOSTILE);
    report.households[0].after[0].reasons[0].label = text(HOSTILE);
    report.quality.measures[0] = text(HOSTILE);
    report.quality.methods[0].name = text(HOSTILE);
    report.importances[0].feature = text(HOSTILE);
    report.figures[0].command = text(HOSTILE);
    let html = report.to_html();
    assert!(!html.contains("<script") && !html.contains("<img"));
    assert_eq!(html.matches("</style>").count(), 1);
    for svg in drawings(&html) {
        let tree = roxmltree::Document::parse(svg).expect("hostile text leaves drawings well-formed");
        let has_handler = |node: roxmltree::Node<'_, '_>| node.attribute("onload").is_some();
        assert!(!tree.descendants().any(has_handler));
    }
}

#[test]
fn every_drawing_is_well_formed_named_and_within_its_frame() {
    let html = sample().to_html();
    let drawings = drawings(&html);
    assert_eq!(drawings.len(), 9, "three of quality, three households, two of latency, importances");
    for svg in drawings {
        let tree = roxmltree::Document::parse(svg).expect("well-formed");
        let named = |tag| tree.descendants().any(|n| n.has_tag_name(tag) && n.text().is_some());
        assert!(named("title") && named("desc"), "{svg}");
        let frame: Vec<f64> = numbers(tree.root_element().attribute("viewBox").unwrap_or(""));
        for node in tree.descendants() {
            for (name, limit) in
                [("x", frame[2]), ("cx", frame[2]), ("x2", frame[2]), ("y", frame[3]), ("cy", frame[3])]
            {
                for at in numbers(node.attribute(name).unwrap_or("")) {
                    assert!((0.0..=limit).contains(&at), "{name}={at} in {svg}");
                }
            }
        }
    }
}

fn numbers(list: &str) -> Vec<f64> {
    list.split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

#[test]
fn an_empty_or_degenerate_report_is_still_a_page() {
    let empty = Report::default().to_html();
    assert!(empty.ends_with("</html>") && drawings(&empty).is_empty());
    let mut degenerate = sample();
    for method in &mut degenerate.quality.methods {
        method.values = vec![interval(f64::NAN, 0.0)];
    }
    if let Some(latency) = &mut degenerate.latency {
        latency.decisions_us = vec![5.0];
    }
    degenerate.households[0].bought.clear();
    degenerate.households[0].candidates = 0;
    let html = degenerate.to_html();
    for svg in drawings(&html) {
        roxmltree::Document::parse(svg).expect("well-formed");
    }
}
