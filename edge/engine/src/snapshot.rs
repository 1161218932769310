//! A bundle after validation. All failure happens here.

use alloc::vec::Vec;

use selvedge_format::container::{Container, ContentId, Kind};
use selvedge_format::explore::ExploreV1;
use selvedge_format::policy::PolicyV1;
use selvedge_format::program::{By, FieldType, OpV1, ProgramV1};
use selvedge_format::shared::SharedState;
use selvedge_format::{AlignedBytes, DecodeError, campaign, explore, meta, model, policy, program, terms};

use crate::Limits;
use crate::cascade::Stage;
use crate::model::Model;
use crate::offer::Campaigns;

/// A validated bundle, ready to decide.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) id: ContentId,
    pub(crate) program: ProgramV1,
    pub(crate) policy: PolicyV1,
    pub(crate) explore: Option<ExploreV1>,
    /// At least one; the first scores all candidates.
    pub(crate) stages: Vec<Stage>,
    pub(crate) campaigns: Option<Campaigns>,
    /// Position of each field among the fields of its type.
    pub(crate) slots: Vec<usize>,
    /// Cost units per candidate, of the stages the first alone.
    pub(crate) cost: u64,
    /// Comparisons per candidate and slot.
    pub(crate) slot_cost: u64,
}

impl Snapshot {
    /// Validates a bundle.
    ///
    /// # Errors
    /// The bytes are not a bundle, are damaged, are larger than the limit, or name anything that is not there.
    #[cold]
    pub fn load(bytes: &AlignedBytes, limits: &Limits) -> Result<Self, DecodeError> {
        if bytes.len() > limits.bundle_bytes {
            return Err(DecodeError::too_large("bundle bytes", limits.bundle_bytes as u64, bytes.len() as u64));
        }
        let container = Container::parse(bytes, Kind::Bundle)?;
        let section =
            |tag, version, place| container.require(tag, version, place).map(|section| &bytes[section.range.clone()]);
        let program = ProgramV1::decode(section(program::TAG, program::VERSION, "feature program")?)?;
        let policy = PolicyV1::decode(section(policy::TAG, policy::VERSION, "slate policy")?, &program)?;
        let explore = match container.find(explore::TAG) {
            Some(_) => Some(ExploreV1::decode(section(explore::TAG, explore::VERSION, "exploration")?)?),
            None => None,
        };
        let models = model::ModelsV1::decode(section(model::TAG, model::VERSION, "model directory")?)?;
        container.refuse_unknown(|tag| {
            matches!(
                tag,
                meta::TAG | program::TAG | policy::TAG | model::TAG | explore::TAG | campaign::TAG | terms::TAG
            ) || (model::WEIGHTS_TAG..model::WEIGHTS_TAG + models.models.len() as u32).contains(&tag)
        })?;
        let weights = |at: usize| section(model::WEIGHTS_TAG + at as u32, model::WEIGHTS_VERSION, "model weights");
        let mut stages = Vec::new();
        let mut keep = usize::MAX;
        // Each stage has a model; `ModelsV1::decode` has checked it.
        for stage in &models.stages {
            let at = usize::from(stage.model);
            let model = Model::load(&models.models[at], weights(at)?, program.features.len())?;
            stages.push(Stage { keep, cost: model.cost(), model });
            keep = stage.keep as usize;
        }
        let campaigns = match container.find(campaign::TAG) {
            Some(_) => {
                let declared = section(campaign::TAG, campaign::VERSION, "campaigns")?;
                Some(Campaigns::load(declared, &program, &models, weights)?)
            }
            None => None,
        };
        let cost = stages[0].cost + program.features.iter().map(|feature| feature_cost(&feature.op)).sum::<u64>();
        let compared = policy.diversity.as_ref().map_or(0, |diversity| diversity.fields.len());
        let cost = cost + if explore.is_some() { EXPLORE_COST } else { 0 };
        let slot_cost = (1 + policy.at_most.len() + compared) as u64;
        Ok(Self {
            id: *container.id(),
            slots: slots(&program),
            program,
            policy,
            explore,
            stages,
            campaigns,
            cost,
            slot_cost,
        })
    }

    /// Content address of the bundle.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// Its feature program.
    #[must_use]
    pub const fn program(&self) -> &ProgramV1 {
        &self.program
    }

    /// Its slate policy.
    #[must_use]
    pub const fn policy(&self) -> &PolicyV1 {
        &self.policy
    }

    /// Its exploration, if any.
    #[must_use]
    pub const fn explore(&self) -> Option<&ExploreV1> {
        self.explore.as_ref()
    }

    /// Its model; of a cascade that of the first stage, which scores all candidates.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.stages[0].model
    }

    /// Cost units of each feature's value for one candidate.
    pub fn feature_costs(&self) -> impl Iterator<Item = u64> + '_ {
        self.program.features.iter().map(|feature| feature_cost(&feature.op))
    }

    /// Comparisons for a slot of the slate and one candidate, eight to a cost unit.
    #[must_use]
    pub const fn slot_cost(&self) -> u64 {
        self.slot_cost
    }

    /// How many candidates a stage scores at most, by its position.
    pub fn keeps(&self) -> impl Iterator<Item = usize> + '_ {
        self.stages.iter().map(|stage| stage.keep)
    }

    /// The model of a stage, from 0.
    #[must_use]
    pub fn stage(&self, stage: usize) -> Option<&Model> {
        self.stages.get(stage).map(|stage| &stage.model)
    }

    /// Its campaigns, if any.
    #[must_use]
    pub const fn campaigns(&self) -> Option<&Campaigns> {
        self.campaigns.as_ref()
    }

    /// Number of fields of a type.
    pub(crate) fn count(&self, ty: FieldType) -> usize {
        self.program.fields.iter().filter(|field| field.ty == ty).count()
    }

    pub(crate) fn uses_history(&self) -> bool {
        self.program.features.iter().any(|feature| {
            matches!(feature.op, OpV1::InteractedWith { .. } | OpV1::TokenOverlap { .. } | OpV1::RecentItem { .. })
        })
    }
}

/// Cost units of a draw for one candidate: the exponential of a softmax is as dear as a few features.
pub const EXPLORE_COST: u64 = 2;

/// Cost units of one value: 1, unless it looks at many things.
const fn feature_cost(op: &OpV1) -> u64 {
    match op {
        // Each of the candidate's words is searched for among the others.
        OpV1::TokenOverlap { .. } => 64,
        OpV1::InteractedWith { .. } => 4,
        OpV1::Category { .. } | OpV1::Rate { .. } => 2,
        _ => 1,
    }
}

fn slots(program: &ProgramV1) -> Vec<usize> {
    let fields = &program.fields;
    (0..fields.len()).map(|at| fields[..at].iter().filter(|field| field.ty == fields[at].ty).count()).collect()
}

/// Where a program's fields and global counters are in a shared state.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    /// By field of the program.
    pub(crate) fields: Vec<Option<usize>>,
    /// By global table of the program: the table, and the position of each of its columns.
    pub(crate) tables: Vec<Option<(usize, Vec<Option<usize>>)>>,
}

impl Binding {
    #[cold]
    pub(crate) fn new(program: &ProgramV1, shared: Option<&SharedState>) -> Self {
        let field = |id, ty| {
            let shared = shared?;
            let position = shared.field_position(id)?;
            (shared.meta().fields[position].1 == ty).then_some(position)
        };
        let table = |id, columns: &[program::ColumnV1]| {
            let shared = shared?;
            let position = shared.table_position(id)?;
            let there = &shared.meta().tables[position].columns;
            let columns = columns.iter().map(|column| there.iter().position(|(id, _)| *id == column.id)).collect();
            Some((position, columns))
        };
        Self {
            fields: program.fields.iter().map(|declared| field(declared.id, declared.ty)).collect(),
            tables: program.global_tables.iter().map(|declared| table(declared.id, &declared.columns)).collect(),
        }
    }
}

/// Whether a key is the same for all candidates.
pub(crate) const fn is_constant(by: By) -> bool {
    matches!(by, By::All)
}
