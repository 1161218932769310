//! campaign.toml, and the response models that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use selvedge_compile::TrainedResponse;
use selvedge_spec::{Campaign, CampaignSpec};

use crate::error::{CliError, Exit};
use crate::file;

/// A file of campaigns that was read.
#[derive(Debug)]
pub(crate) struct CampaignFile {
    pub(crate) spec: CampaignSpec,
    path: PathBuf,
}

impl CampaignFile {
    /// Reads the declarations.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let spec = CampaignSpec::parse(&path.display().to_string(), &file::read_text(path)?)?;
        Ok(Self { spec, path: path.to_owned() })
    }

    /// Where a campaign's response model is: beside the declarations.
    pub(crate) fn response_path(&self, campaign: &Campaign) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(&campaign.response)
    }

    /// The response model of a campaign.
    pub(crate) fn response(&self, campaign: &Campaign) -> Result<TrainedResponse, CliError> {
        let path = self.response_path(campaign);
        let bytes = file::read(&path, selvedge_compile::MAX_MODEL_BYTES as u64).map_err(|error| {
            let why =
                format!("campaign `{}` names it as its response model; `selvedge uplift` trains one", campaign.name);
            error.hint(why)
        })?;
        TrainedResponse::import(&bytes).map_err(|error| CliError::from(error).in_file(&path))
    }

    /// The response models of all campaigns, by the path that the campaigns name.
    pub(crate) fn responses(&self) -> Result<BTreeMap<String, TrainedResponse>, CliError> {
        let mut responses = BTreeMap::new();
        for campaign in &self.spec.campaigns {
            if !responses.contains_key(&campaign.response) {
                responses.insert(campaign.response.clone(), self.response(campaign)?);
            }
        }
        Ok(responses)
    }

    /// Whether the place of a compile error is in this file or in a response model.
    pub(crate) fn is_named_by(&self, place: &str) -> bool {
        let responses = self.spec.campaigns.iter().map(|campaign| campaign.response.as_str());
        responses.chain(["campaign.toml"]).any(|name| place.starts_with(name))
    }

    /// The campaign of this name, or the only one.
    pub(crate) fn campaign(&self, name: Option<&str>) -> Result<&Campaign, CliError> {
        let names = || self.spec.campaigns.iter().map(|campaign| campaign.name.as_str()).collect::<Vec<_>>().join(", ");
        let path = self.path.display();
        match (name, self.spec.campaigns.as_slice()) {
            (None, [only]) => Ok(only),
            (None, several) => {
                let message = format!("{path} declares {} campaigns: say which with --campaign", several.len());
                Err(CliError::new(Exit::Usage, message).hint(format_args!("there are {}", names())))
            }
            (Some(name), campaigns) => campaigns.iter().find(|campaign| campaign.name == name).ok_or_else(|| {
                let message = format!("{path} declares no campaign `{name}`");
                CliError::new(Exit::Usage, message).hint(format_args!("there are {}", names()))
            }),
        }
    }

    /// What the campaign's budgets can pay for in all, in minor units: the first of them to end ends it.
    pub(crate) fn budget(&self, campaign: &Campaign) -> f64 {
        let total = |name: &str| self.spec.budgets.iter().find(|budget| budget.name == name).map(|budget| budget.total);
        let reach = |(name, share): &(String, f64)| total(name).map(|total| total as f64 / share);
        campaign.funders.iter().filter_map(reach).fold(f64::INFINITY, f64::min)
    }
}
