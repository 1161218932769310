//! Learners find what is there, say so when there is nothing, and repeat themselves.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_compile::{TrainedModel, import};
use selvedge_spec::{LinearTraining, Objective, TreeTraining};
use selvedge_train::learn::{self, LearnError, TrainingSet};
use selvedge_train::metric::{Measures, rank};

/// Values as `[candidate][feature]`, and which candidates are relevant.
type Posed = (Vec<f32>, Vec<bool>);

/// Queries of eight candidates; the relevant one has the largest `2 a - b`, and `c` is noise with gaps.
fn made_up(queries: u32) -> (TrainingSet, Vec<Posed>) {
    let mut draw = ChaCha8Rng::seed_from_u64(5);
    let mut set = TrainingSet::new(3);
    let mut posed = Vec::new();
    for query in 0..queries {
        let mut values = Vec::new();
        let mut worth = Vec::new();
        for _ in 0..8 {
            let (a, b): (f32, f32) = (draw.random(), draw.random());
            let noise = if draw.random_bool(0.2) { f32::NAN } else { draw.random() };
            values.extend([a, b, noise]);
            worth.push(2.0 * a - b);
        }
        let best = worth.iter().copied().fold(f32::MIN, f32::max);
        let relevant: Vec<bool> = worth.iter().map(|worth| *worth == best).collect();
        set.push(query, &values, &relevant, 1.0, 0);
        posed.push((values, relevant));
    }
    (set, posed)
}

fn ndcg(posed: &[Posed], score: impl Fn(&[f32]) -> f32) -> f64 {
    let measures = posed.iter().map(|(values, relevant)| {
        let scores: Vec<f32> = values.chunks_exact(3).map(&score).collect();
        Measures::of(relevant, &rank(&scores)).ndcg
    });
    measures.sum::<f64>() / posed.len() as f64
}

#[test]
fn the_linear_ranker_finds_the_direction_and_ignores_noise() {
    let (set, posed) = made_up(300);
    let training = LinearTraining { rounds: 200, eta: 0.1, ..LinearTraining::default() };
    let model = learn::linear(&set, Objective::LambdaRank, &training, &mut |_| {}).expect("it learns");
    assert!(ndcg(&posed, |x| x[0] * model.weights[0] + x[1] * model.weights[1]) > 0.98);
    let ratio = model.weights[0] / model.weights[1];
    assert!((-2.3..-1.7).contains(&ratio), "{:?}", model.weights);
    assert!(model.weights[2].abs() < 0.1 * model.weights[0], "{:?}", model.weights);
}

#[test]
fn trees_rank_what_they_learned_and_are_the_same_every_time() {
    let (set, posed) = made_up(300);
    let training = TreeTraining { rounds: 40, max_depth: 4, ..TreeTraining::default() };
    let grow = || learn::trees(&set, Objective::LambdaRank, &training, &mut |_| {}).expect("they grow");
    let json = grow();
    assert_eq!(json, grow());
    let TrainedModel::Trees(trees) = import(&json).expect("the compiler reads them") else { panic!("not trees") };
    assert_eq!((trees.trees(), trees.features()), (40, 3));
    assert!(ndcg(&posed, |x| trees.raw_score(x)) > 0.95);
}

#[test]
fn sampling_keeps_every_relevant_row_and_the_same_others_whatever_else_is_in_the_set() {
    let values: Vec<f32> = (0..400_u16).map(f32::from).collect();
    let relevant: Vec<bool> = (0..400).map(|row| row % 40 == 0).collect();
    let mut alone = TrainingSet::new(1);
    alone.push(9, &values, &relevant, 0.25, 1);
    assert_eq!(alone.labels.iter().filter(|label| **label > 0.0).count(), 10);
    assert!((60..140).contains(&alone.groups[0]), "{:?}", alone.groups);
    let mut second = TrainingSet::new(1);
    second.push(3, &values, &relevant, 0.25, 1);
    second.push(9, &values, &relevant, 0.25, 1);
    assert_eq!(alone.values, second.values[second.groups[0]..]);
    assert_ne!(alone.values, second.values[..second.groups[0]]);
}

#[test]
fn nothing_to_learn_from_is_an_error() {
    let set = TrainingSet::new(3);
    let trees = learn::trees(&set, Objective::LambdaRank, &TreeTraining::default(), &mut |_| {});
    assert!(matches!(trees, Err(LearnError::Empty)));
    let linear = learn::linear(&set, Objective::LambdaRank, &LinearTraining::default(), &mut |_| {});
    assert!(matches!(linear, Err(LearnError::Empty)));
    let (set, _) = made_up(2);
    let logistic = learn::linear(&set, Objective::Logistic, &LinearTraining::default(), &mut |_| {});
    assert!(matches!(logistic, Err(LearnError::Objective(_))));
}
