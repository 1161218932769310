//! One decision in native code: features alone, features and model, and all of it.
//!
//! The counts that are printed first do not depend on the machine; the times do.
#![allow(missing_docs, reason = "criterion's macros make an undocumented function")]
#![allow(clippy::print_stdout, reason = "the counts are a result")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::World;
use selvedge_format::decision::DecisionView;

fn decision(criterion: &mut Criterion) {
    for (candidates, trees) in [(100, 300), (200, 200)] {
        let world = World::new(trees, candidates).expect("a valid world");
        let mut engine = world.engine().expect("a valid world");
        let decided = DecisionView::parse(engine.decide(&world.request)).expect("a valid decision");
        let counts = format!(
            "{candidates} candidates, {trees} trees: {} cost units, {} bytes of bundle, {} of request, status {:?}",
            decided.cost,
            world.bundle.len(),
            world.request.len(),
            decided.status,
        );
        let mut group = criterion.benchmark_group("decision");
        group.throughput(Throughput::Elements(candidates as u64));
        let id = |part| BenchmarkId::new(part, format!("{candidates}x{trees}"));
        group.bench_function(id("features"), |bencher| {
            bencher.iter(|| engine.features(&world.request).map(|m| m.candidates))
        });
        group.bench_function(id("score"), |bencher| bencher.iter(|| engine.score(&world.request).map(<[f32]>::len)));
        group.bench_function(id("decide"), |bencher| bencher.iter(|| engine.decide(&world.request).len()));
        group.finish();
        println!("{counts}");
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
