//! Between a declared campaign and what learns and plans for it: the same offers, costs and ladders under other names.

use selvedge_compile::{NO_OFFER, TrainedResponse};
use selvedge_spec::{self as spec, Campaign, Margin, TreeTraining};
use selvedge_train::bootstrap::Bootstrap;
use selvedge_uplift::compare::{CompareError, Contest, Policy, Rule, Settings};
use selvedge_uplift::fit::{self, Base, CrossFit, Learner, Ridge, Structure};
use selvedge_uplift::model::{Ladders, ResponseModel};
use selvedge_uplift::plan::{self, Planned, Users};
use selvedge_uplift::policy::{Economics, EconomicsError};
use selvedge_uplift::table::{Table, TableError};
use selvedge_uplift::trial::{Trial, TrialError};

use crate::error::{CliError, Exit};

/// Names of the arms of a campaign, the control first.
pub(crate) fn arms(campaign: &Campaign) -> Vec<&str> {
    std::iter::once(NO_OFFER).chain(campaign.offers.iter().map(|offer| offer.name.as_str())).collect()
}

/// Arms that the campaign declares as ladders; an arm alone is none.
pub(crate) fn ladders(campaign: &Campaign) -> Ladders {
    let mut ladders: Vec<Vec<usize>> = Vec::new();
    for (at, offer) in campaign.offers.iter().enumerate() {
        let goes_on = at > 0 && offer.ladder.is_some() && campaign.offers[at - 1].ladder == offer.ladder;
        match ladders.last_mut() {
            Some(ladder) if goes_on => ladder.push(at + 1),
            _ => ladders.push(vec![at + 1]),
        }
    }
    ladders.retain(|ladder| ladder.len() > 1);
    // Each arm stands in one ladder, so they cannot contradict each other.
    Ladders::new(ladders, campaign.offers.len() + 1).unwrap_or_default()
}

/// What a response to the campaign is worth: the mean over the trial where that is a feature.
pub(crate) fn margin(campaign: &Campaign, trial: &Trial) -> Result<f64, CliError> {
    match &campaign.margin {
        Margin::Constant(minor) => Ok(f64::from(*minor)),
        Margin::Feature { name, .. } => {
            let at = trial.features().iter().position(|feature| feature == name);
            let at = at.ok_or_else(|| {
                let message = format!("the margin of campaign `{}` is `{name}`, which is no column", campaign.name);
                CliError::new(Exit::Usage, message).hint("give the trial a column of this name, in minor units")
            })?;
            let known = || (0..trial.rows()).map(|row| trial.row(row)[at]).filter(|x| !x.is_nan()).map(f64::from);
            Ok(known().sum::<f64>() / known().count().max(1) as f64)
        }
    }
}

/// Small trees: effects are faint, and deeper ones learn the noise.
fn trees(structure: Structure) -> Learner {
    let training = TreeTraining {
        rounds: 60,
        max_depth: 2,
        eta: 0.1,
        min_child_weight: 20.0,
        lambda: 10.0,
        max_bin: 64,
        ..TreeTraining::default()
    };
    Learner { structure, base: Base::Trees(training) }
}

fn linear(structure: Structure) -> Learner {
    Learner { structure, base: Base::Linear(Ridge::default()) }
}

/// What learns who redeems, where nobody drew who was mailed.
pub(crate) fn redemption_learners() -> Vec<(String, Learner)> {
    vec![
        ("response model, linear".to_owned(), linear(Structure::Redemption)),
        ("response model, trees".to_owned(), trees(Structure::Redemption)),
    ]
}

/// What learns where nobody says otherwise.
pub(crate) fn learners() -> Vec<(String, Learner)> {
    vec![
        ("response model, linear".to_owned(), linear(Structure::Response)),
        ("S-learner, linear".to_owned(), linear(Structure::Single)),
        ("T-learner, linear".to_owned(), linear(Structure::PerArm)),
        ("X-learner, linear".to_owned(), linear(Structure::Imputed)),
        ("DR-learner, linear".to_owned(), linear(Structure::Robust)),
        ("S-learner, trees".to_owned(), trees(Structure::Single)),
        ("T-learner, trees".to_owned(), trees(Structure::PerArm)),
        ("X-learner, trees".to_owned(), trees(Structure::Imputed)),
        ("DR-learner, trees".to_owned(), trees(Structure::Robust)),
    ]
}

/// What a campaign's policies are made of.
pub(crate) fn settings(campaign: &Campaign, trial: &Trial, bootstrap: Bootstrap) -> Result<Settings, CliError> {
    let costs = |of: fn(&spec::Offer) -> f32| {
        std::iter::once(0.0).chain(campaign.offers.iter().map(|offer| f64::from(of(offer)))).collect()
    };
    let margin = margin(campaign, trial)?;
    let economics = Economics::new(trial, margin, costs(|offer| offer.discount), costs(|offer| offer.sending))?;
    Ok(Settings { economics, ladders: ladders(campaign), learners: learners(), deal: CrossFit::default(), bootstrap })
}

/// What a policy ships, learned from all rows of a trial; nothing where nobody is treated.
pub(crate) fn model_of(contest: &Contest, policy: &Policy) -> Option<ResponseModel> {
    match &policy.rule {
        Rule::None => None,
        Rule::All(_) => Some(fit::alike(contest.trial(), &contest.settings().ladders)),
        Rule::Top { .. } | Rule::Best(_) => policy.model.clone(),
    }
}

/// The only arm that a policy gives, if it does not choose.
pub(crate) const fn only_arm(rule: &Rule) -> Option<usize> {
    match rule {
        Rule::All(arm) | Rule::Top { arm, .. } => Some(*arm),
        Rule::None | Rule::Best(_) => None,
    }
}

/// A campaign and its users as a plan wants them. `names` are the columns of `rows`, one of them the margin if that is a
/// feature.
pub(crate) fn planned(
    campaign: &Campaign,
    response: &TrainedResponse,
    names: &[String],
    rows: &[f32],
) -> Result<Planned, CliError> {
    let arms = arms(campaign);
    let mut chances = response.chances(&arms, names, rows)?;
    let ladders = ladders(campaign);
    chances.chunks_exact_mut(arms.len()).for_each(|row| ladders.raise(row));
    let users = chances.len() / arms.len();
    let margins = match &campaign.margin {
        Margin::Constant(minor) => vec![f64::from(*minor); users],
        Margin::Feature { name, .. } => {
            let at = names.iter().position(|other| other == name).unwrap_or(0);
            // Where the margin is not known, no offer is worth anything.
            let margin = |row: &[f32]| if row[at].is_nan() { 0.0 } else { f64::from(row[at]) };
            rows.chunks_exact(names.len()).map(margin).collect()
        }
    };
    let error = |name: &str| {
        let arm = response.arms.iter().find(|arm| arm.offer == name);
        arm.map_or(0.0, |arm| f64::from(arm.error))
    };
    let offers = campaign.offers.iter().map(|offer| plan::Offer {
        discount: offer.discount.into(),
        sending: offer.sending.into(),
        error: error(&offer.name),
    });
    let campaign = plan::Campaign {
        goal: match campaign.goal {
            spec::Goal::Revenue => plan::Goal::Revenue,
            spec::Goal::Profit => plan::Goal::Profit,
        },
        caution: campaign.caution.into(),
        margin_floor: campaign.margin_floor * campaign.order as f64,
        holdout: campaign.holdout,
        offers: offers.collect(),
        error: error(NO_OFFER),
    };
    Ok(Planned::new(campaign, Users { chances, margins }))
}

/// Reads a table.
pub(crate) fn read_table(path: &std::path::Path) -> Result<Table, CliError> {
    let bytes = crate::file::read(path, crate::file::MAX_BYTES)?;
    Table::read(&bytes).map_err(|error| CliError::from(error).in_file(path))
}

impl From<TableError> for CliError {
    fn from(error: TableError) -> Self {
        let refused = Self::new(Exit::Usage, &error);
        match &error {
            TableError::Arm { .. } => refused.hint(
                "an arm is the name of an offer of the campaign, or `none`: --control says what the trial calls that",
            ),
            TableError::MissingColumn { .. } => refused
                .hint("columns are found by the names in the first line; --arm, --outcome and --propensity say which"),
            TableError::Number { .. } => {
                refused.hint("features are numbers, an empty cell is missing; --ignore leaves a column out")
            }
            TableError::Trial(TrialError::NotDrawn { .. }) => refused
                .hint("--propensity names the column that has them; --observational declares that arms were not drawn"),
            TableError::Trial(TrialError::EmptyArm { .. }) => {
                refused.hint("an offer that was not tried cannot be learned: take it out of the campaign, or try it")
            }
            _ => refused,
        }
    }
}

impl From<CompareError> for CliError {
    fn from(error: CompareError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<EconomicsError> for CliError {
    fn from(error: EconomicsError) -> Self {
        Self::new(Exit::Usage, error).hint("look at margin, discount and sending in campaign.toml")
    }
}
