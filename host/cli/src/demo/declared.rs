//! What a recipe of offers declares, and the guest that decides by it: shared by what is shown of offers.

use std::collections::BTreeMap;

use selvedge_compile::{CompiledBundle, TrainedModel, TrainedResponse, compile_with_campaigns, import};
use selvedge_format::decision::DecisionView;
use selvedge_format::key;
use selvedge_format::program::Scope;
use selvedge_format::request::BudgetNow;
use selvedge_runner::{GuestModule, Instance};
use selvedge_spec::{Campaign, CampaignSpec, FeatureSpec, ModelSpec};
use selvedge_uplift::file as response_file;
use selvedge_uplift::model::ResponseModel;
use selvedge_uplift::plan::Planned;
use selvedge_uplift::trial::Trial;
use selvedge_wire::{RequestBuilder, Values};

use super::{DemoArgs, in_guest};
use crate::error::{CliError, Exit};
use crate::trial::{arms, planned};

/// The files of a recipe, with the names that mistakes in them are told by.
pub(super) struct Recipe {
    pub(super) features: (&'static str, &'static str),
    pub(super) model: (&'static str, &'static str),
    pub(super) campaign: (&'static str, &'static str),
    pub(super) ranking: &'static str,
}

/// What the recipe declares.
pub(super) struct Declared {
    features: FeatureSpec,
    model: ModelSpec,
    ranking: TrainedModel,
    campaigns: CampaignSpec,
    /// What the trial's arms are called as offers.
    arms: Vec<String>,
}

impl Declared {
    pub(super) fn read(recipe: &Recipe) -> Result<Self, CliError> {
        let campaigns = CampaignSpec::parse(recipe.campaign.0, recipe.campaign.1)?;
        Ok(Self {
            features: FeatureSpec::parse(recipe.features.0, recipe.features.1)?,
            model: ModelSpec::parse(recipe.model.0, recipe.model.1)?,
            ranking: import(recipe.ranking.as_bytes())?,
            arms: arms(&campaigns.campaigns[0]).into_iter().map(str::to_owned).collect(),
            campaigns,
        })
    }

    /// Leaves the campaign one offer.
    pub(super) fn keep(&mut self, arm: usize) {
        let kept = &self.arms[arm];
        self.campaigns.campaigns[0].offers.retain(|offer| offer.name == *kept);
    }

    /// A model as the file that the compiler reads, and as read from it.
    pub(super) fn response(
        &self,
        model: &ResponseModel,
        trial: &Trial,
    ) -> Result<(Vec<u8>, TrainedResponse), CliError> {
        let names: Vec<&str> = self.arms.iter().map(String::as_str).collect();
        let file = response_file::write(model, trial.features(), &names);
        let file = file.map_err(|error| CliError::new(Exit::Io, error))?;
        let response = TrainedResponse::import(&file)?;
        Ok((file, response))
    }

    /// The campaign with the people of a trial as its users.
    pub(super) fn planned(&self, response: &TrainedResponse, trial: &Trial) -> Result<Planned, CliError> {
        planned(self.campaign(), response, trial.features(), trial.values())
    }

    pub(super) fn campaign(&self) -> &Campaign {
        &self.campaigns.campaigns[0]
    }

    /// What the campaign may spend.
    pub(super) fn budget(&self) -> f64 {
        self.campaigns.budgets[0].total as f64
    }

    pub(super) fn compile(&self, response: &TrainedResponse) -> Result<CompiledBundle, CliError> {
        self.campaigns.check(&self.features)?;
        let responses = BTreeMap::from([(self.campaign().response.clone(), response.clone())]);
        Ok(compile_with_campaigns(&self.features, &self.model, &self.ranking, &self.campaigns, &responses)?)
    }
}

/// A guest with a bundle, asked at one price.
pub(super) struct Guest {
    instance: Instance,
    budget: BudgetNow,
    /// The most fuel of a decision.
    pub(super) fuel: u64,
}

impl Guest {
    pub(super) fn new(
        module: &GuestModule,
        args: &DemoArgs,
        declared: &Declared,
        bundle: &CompiledBundle,
        price: f64,
    ) -> Result<Self, CliError> {
        let mut instance = Instance::new(module, args.guest.limits());
        instance.load(bundle.bytes.as_slice()).map_err(in_guest)?;
        let budget = &declared.campaigns.budgets[0];
        let budget = BudgetNow { key: key(budget.name.as_bytes()), price_micros: micros(price), left: budget.total };
        Ok(Self { instance, budget, fuel: 0 })
    }

    /// Asks at another price, with this much of the budget left.
    pub(super) fn reprice(&mut self, price: f64, left: u64) {
        self.budget.price_micros = micros(price);
        self.budget.left = left;
    }

    /// The arm of the trial that the user of a row is offered at a time.
    pub(super) fn arm(
        &mut self,
        declared: &Declared,
        trial: &Trial,
        row: usize,
        time_ms: i64,
    ) -> Result<usize, CliError> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(row as u64).to_le_bytes());
        let campaign = key(declared.campaign().name.as_bytes());
        // One candidate: a request must ask for something to be ranked.
        let mut request = RequestBuilder::new(id, time_ms, ["nothing"]).offer(campaign, None, &[self.budget], &[]);
        for (name, value) in trial.features().iter().zip(trial.row(row)) {
            request = request.column(Scope::User, name, Values::Numbers(&[*value]));
        }
        let decided = self.instance.decide(&request.build()).map_err(in_guest)?;
        self.fuel = self.fuel.max(decided.fuel);
        let decision = DecisionView::parse(decided.decision).map_err(|error| CliError::new(Exit::Trap, error))?;
        let arm = decision.offer.map_or(0, |offer| offer.best as usize);
        let offer = arm.checked_sub(1).and_then(|at| declared.campaign().offers.get(at));
        Ok(offer.and_then(|offer| declared.arms.iter().position(|name| *name == offer.name)).unwrap_or(0))
    }
}

/// A price as requests have it; rounded up, it spends no more.
fn micros(price: f64) -> u64 {
    (price * 1e6).ceil() as u64
}

#[cfg(test)]
mod tests {
    use selvedge_uplift::fit::{self, CrossFit};
    use selvedge_uplift::model::Ladders;
    use selvedge_uplift::thornton;

    use super::super::coupons::RECIPE;
    use super::*;
    use crate::trial::learners;

    #[test]
    fn what_every_learner_learns_is_compiled_and_says_the_same_chances_bit_for_bit() {
        let declared = Declared::read(&RECIPE).expect("a recipe");
        let trial = thornton::made_up(3, 800).expect("a trial").with_features(&["age", "distvct"]);
        let names: Vec<&str> = declared.arms.iter().map(String::as_str).collect();
        let learners = learners();
        for wanted in ["S-learner", "T-learner", "X-learner", "DR-learner"] {
            assert_eq!(learners.iter().filter(|(name, _)| name.starts_with(wanted)).count(), 2, "{wanted}");
        }
        for (name, learner) in learners {
            let deal = CrossFit { folds: 2, seed: 1 };
            let model = fit::fit(&trial, &learner, &Ladders::default(), deal).expect("enough rows").model;
            let (_, response) = declared.response(&model, &trial).expect("a file");
            let ours = model.probabilities(trial.values()).expect("rows that fit");
            let theirs = response.chances(&names, trial.features(), trial.values()).expect("features that are there");
            assert!(ours.iter().zip(&theirs).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
            let parity = declared.compile(&response).unwrap_or_else(|error| panic!("{name}: {error:?}")).report.parity;
            assert!(parity.rows > 0, "{name}: nothing was compared");
        }
    }
}
