//! Compiles a bundle with campaigns: `campaigns FEATURES MODEL TRAINED CAMPAIGNS OUT`. The response models that the campaigns
//! name are read beside them.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use selvedge_compile::{TrainedResponse, compile_with_campaigns, import};
use selvedge_spec::{CampaignSpec, FeatureSpec, ModelSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [features, model, trained, campaigns, out] = &paths[..] else {
        return Err("five paths are expected: FEATURES MODEL TRAINED CAMPAIGNS OUT".into());
    };
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let name = |path: &Path| path.display().to_string();
    let spec = CampaignSpec::parse(&name(campaigns), &text(campaigns)?)?;
    let beside = campaigns.parent().unwrap_or(Path::new(""));
    let mut responses = BTreeMap::new();
    for campaign in &spec.campaigns {
        let bytes = std::fs::read(beside.join(&campaign.response))?;
        responses.insert(campaign.response.clone(), TrainedResponse::import(&bytes)?);
    }
    let features = FeatureSpec::parse(&name(features), &text(features)?)?;
    spec.check(&features)?;
    let model = ModelSpec::parse(&name(model), &text(model)?)?;
    let trained = import(&std::fs::read(trained)?)?;
    let compiled = compile_with_campaigns(&features, &model, &trained, &spec, &responses)?;
    std::fs::write(out, compiled.bytes)?;
    Ok(())
}
