//! From declarations and a model to the bytes of a bundle.

use std::collections::BTreeMap;

use selvedge_format::container::{Container, ContainerBuilder, ContentId, Kind};
use selvedge_format::meta::MetaV1;
use selvedge_format::model::{ModelsV1, StageV1};
use selvedge_format::{DecodeError, campaign, explore, meta, model, policy, program, terms};
use selvedge_spec::{CampaignSpec, FeatureSpec, ModelSpec};
use serde::Serialize;

use crate::bind::{Bound, bind};
use crate::cost::{self, CostInspection};
use crate::error::{CompileError, CompileErrorKind};
use crate::lower::{Lowered, feature_names, lower_campaigns, lower_explore, lower_policy, lower_program};
use crate::model::TrainedModel;
use crate::quantise::{QuantiseReport, Sample, quantise};
use crate::response::TrainedResponse;
use crate::verify::{Parity, verify};

/// A bundle that an engine has loaded and scored with.
#[derive(Clone, Debug)]
pub struct CompiledBundle {
    /// The container. Equal inputs give equal bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 of the content.
    pub id: ContentId,
    /// What was made of the model.
    pub report: CompileReport,
}

/// What became of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompileReport {
    /// Who trained the model: program and version.
    pub trainer: String,
    /// Size of the bundle in bytes.
    pub bytes: usize,
    /// Its sections, in order.
    pub sections: Vec<SectionSize>,
    /// What the model makes of each feature, in the order of the declaration; empty for a graph, which mixes them.
    pub features: Vec<FeatureUse>,
    /// The comparison of scores, of all models, before weights were quantised.
    pub parity: Parity,
    /// The models that rank, in order; the last is the model itself.
    pub stages: Vec<ModelReport>,
    /// What quantising the model itself has done, where it was declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantised: Option<QuantiseReport>,
    /// What a decision costs, and where.
    pub cost: CostInspection,
}

/// What became of one model that ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// Who trained it: program and version.
    pub trainer: String,
    /// The comparison of its scores.
    pub parity: Parity,
}

impl ModelReport {
    fn new((trained, parity): (&TrainedModel, &Parity)) -> Self {
        Self { trainer: trained.trainer().to_owned(), parity: *parity }
    }
}

/// A section of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionSize {
    /// What it holds.
    pub name: String,
    /// Its tag.
    pub tag: u32,
    /// Version of its layout.
    pub version: u16,
    /// Whether a reader that does not know it must refuse the container.
    pub required: bool,
    /// Size in bytes, without padding.
    pub bytes: usize,
}

/// What a model makes of a feature. One with no splits and no weight costs its computation and changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureUse {
    /// Name, as declared.
    pub name: String,
    /// Number of splits on it; 0 in a linear model.
    pub splits: usize,
    /// Training loss that those splits saved, as the trainer reports it.
    pub gain: f64,
    /// Its weight in a linear model; 0 in trees.
    pub weight: f32,
}

/// What is compiled besides the declarations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trained<'a> {
    /// The model of each declared stage, in order, and the model itself last.
    pub stages: &'a [TrainedModel],
    /// Campaigns, with the trained response model of every path that they name.
    pub campaigns: Option<(&'a CampaignSpec, &'a BTreeMap<String, TrainedResponse>)>,
    /// Requests by which weights are quantised.
    pub sample: Option<&'a Sample>,
}

/// Compiles a bundle and proves that an engine scores with it exactly as the trained model does.
///
/// # Errors
/// The model uses a feature that is not declared; a declaration does not fit the limits of a bundle; a slate rule names
/// an unknown field; stages are declared, which need [`compile_stages`]; or, a bug, the scores differ.
pub fn compile(
    features: &FeatureSpec,
    model: &ModelSpec,
    trained: &TrainedModel,
) -> Result<CompiledBundle, CompileError> {
    compile_stages(features, model, Trained { stages: std::slice::from_ref(trained), ..Trained::default() })
}

/// The same with campaigns. `responses` has the trained response model of every path that a campaign names.
///
/// # Errors
/// Besides: a response model that is not there, lacks an arm, or reads what is about an item or what its campaign excludes.
pub fn compile_with_campaigns(
    features: &FeatureSpec,
    model: &ModelSpec,
    trained: &TrainedModel,
    campaigns: &CampaignSpec,
    responses: &BTreeMap<String, TrainedResponse>,
) -> Result<CompiledBundle, CompileError> {
    let stages = std::slice::from_ref(trained);
    compile_stages(features, model, Trained { stages, campaigns: Some((campaigns, responses)), sample: None })
}

/// The same with the models of a cascade, each of which is proven by itself, or with a sample of requests.
///
/// # Errors
/// Besides: more or fewer models than the declared stages and one; `[quantise]` is declared and the model is no network, there
/// is no sample, or more is lost than was declared.
pub fn compile_stages(
    features: &FeatureSpec,
    model: &ModelSpec,
    trained: Trained<'_>,
) -> Result<CompiledBundle, CompileError> {
    let last = match trained.stages.split_last() {
        Some((last, earlier)) if earlier.len() == model.stages.len() => last,
        _ => {
            let (found, wanted) = (trained.stages.len(), model.stages.len() + 1);
            let message =
                format!("{found} trained models, and the declared stages with the model itself need {wanted}");
            let help = "give one trained model for each [[stage]], and the model's own last";
            return Err(CompileError::new(CompileErrorKind::Stages, "model.toml: [[stage]]", message, help));
        }
    };
    let mut stages: Vec<Bound> = Vec::with_capacity(trained.stages.len());
    for (trained, stage) in trained.stages.iter().zip(&model.stages) {
        // The place names the file: the message is about the model's own otherwise.
        stages.push(bind(trained, features).map_err(|error| error.within(&stage.trained))?);
    }
    stages.push(bind(last, features)?);
    let program = lower_program(features)?;
    let policy = lower_policy(model, features)?;
    let names = MetaV1 {
        name: model.name.clone(),
        producer: format!("selvedge {} ({})", env!("CARGO_PKG_VERSION"), last.trainer()),
        fields: features.fields.iter().map(|field| format!("{}.{}", field.scope, field.name)).collect(),
        features: feature_names(features, &program),
        events: features.events.iter().map(|event| event.name.clone()).collect(),
        shared_refresh_s: features.shared_refresh.get(),
    };
    let campaigns = match trained.campaigns {
        Some((spec, responses)) => Some(lower_campaigns(spec, features, &program, responses, stages.len())?),
        None => None,
    };
    let keep = model.stages.iter().map(|stage| stage.keep).chain([0]);
    let ranking = (0..).zip(keep).map(|(model, keep)| StageV1 { model, keep }).collect();
    let mut directory = ModelsV1 { models: Vec::new(), stages: ranking };
    let mut pack = |stages: &[Bound]| {
        let models = with_responses(stages, campaigns.as_ref());
        directory.models = models.iter().map(|model| model.declared()).collect();
        let mut bundle = ContainerBuilder::new(Kind::Bundle)
            .optional(meta::TAG, meta::VERSION, names.encode())
            .required(program::TAG, program::VERSION, program.encode())
            .required(model::TAG, model::VERSION, directory.encode())
            .required(policy::TAG, policy::VERSION, policy.encode());
        for (tag, model) in (model::WEIGHTS_TAG..).zip(&models) {
            bundle = bundle.required(tag, model::WEIGHTS_VERSION, model.weights());
        }
        if let Some(Lowered { campaigns, terms, .. }) = &campaigns {
            bundle = bundle.required(campaign::TAG, campaign::VERSION, campaigns.encode());
            // Whoever decides without them decides the same.
            bundle = bundle.optional(terms::TAG, terms::VERSION, terms.encode());
        }
        if let Some(explore) = lower_explore(model) {
            bundle = bundle.required(explore::TAG, explore::VERSION, explore.encode());
        }
        bundle.build()
    };
    let mut bytes = pack(&stages);
    // Before weights lose anything: what is proven is that the model was understood.
    let models = with_responses(&stages, campaigns.as_ref());
    let parity = verify(&bytes, &models, stages.len(), features.features.len())?;
    let mut quantised = None;
    if let (Some(declared), Some(itself)) = (&model.quantise, stages.last_mut()) {
        let narrow = quantise(&bytes, itself, declared, trained.sample)?;
        itself.replace_program(narrow.section);
        bytes = pack(&stages);
        quantised = Some(narrow.report);
    }
    let container = Container::parse(&bytes, Kind::Bundle).map_err(|error| bad_container(&error))?;
    let cost = cost::inspect(&bytes, &directory, |model| {
        let tag = model::WEIGHTS_TAG + u32::from(model);
        container.require(tag, model::WEIGHTS_VERSION, "model weights").map(|section| &bytes[section.range.clone()])
    });
    let report = CompileReport {
        trainer: last.trainer().to_owned(),
        bytes: bytes.len(),
        sections: sections(&container),
        features: stages.last().map(|bound| uses(bound, features)).unwrap_or_default(),
        parity: Parity::of_all(&parity),
        stages: trained.stages.iter().zip(&parity).map(ModelReport::new).collect(),
        quantised,
        cost: cost.map_err(|error| bad_container(&error))?,
    };
    Ok(CompiledBundle { id: *container.id(), bytes, report })
}

/// The models of a bundle, those that rank first.
fn with_responses<'a>(stages: &'a [Bound], campaigns: Option<&'a Lowered>) -> Vec<&'a Bound> {
    stages.iter().chain(campaigns.into_iter().flat_map(|lowered| &lowered.models)).collect()
}

fn bad_container(error: &DecodeError) -> CompileError {
    CompileError::new(CompileErrorKind::BadContainer, "bundle", error.to_string(), REPORT)
}

const REPORT: &str = "this is a bug in Selvedge: please report it with the declarations and the model";

/// Sizes of a bundle's sections.
pub(crate) fn sections(container: &Container) -> Vec<SectionSize> {
    let size = |section: &selvedge_format::container::Section| SectionSize {
        name: section_name(section.tag),
        tag: section.tag,
        version: section.version,
        required: section.flags & selvedge_format::container::FLAG_REQUIRED != 0,
        bytes: section.range.len(),
    };
    container.sections().iter().map(size).collect()
}

fn section_name(tag: u32) -> String {
    match tag {
        meta::TAG => "names".to_owned(),
        program::TAG => "feature program".to_owned(),
        model::TAG => "model directory".to_owned(),
        policy::TAG => "slate policy".to_owned(),
        explore::TAG => "exploration".to_owned(),
        campaign::TAG => "campaigns".to_owned(),
        terms::TAG => "terms".to_owned(),
        model::WEIGHTS_TAG.. => format!("weights of model {}", tag - model::WEIGHTS_TAG),
        _ => "unknown".to_owned(),
    }
}

fn uses(bound: &Bound, spec: &FeatureSpec) -> Vec<FeatureUse> {
    let unused =
        |feature: &selvedge_spec::Feature| FeatureUse { name: feature.name.clone(), splits: 0, gain: 0.0, weight: 0.0 };
    let mut uses: Vec<FeatureUse> = spec.features.iter().map(unused).collect();
    match bound {
        Bound::Linear { weight, .. } => uses.iter_mut().zip(weight).for_each(|(entry, weight)| entry.weight = *weight),
        Bound::Trees(ensemble) => {
            uses.iter_mut().zip(&ensemble.gains).for_each(|(entry, gain)| entry.gain = *gain);
            for node in ensemble.splits() {
                uses[usize::from(node.feature)].splits += 1;
            }
        }
        // What a graph makes of a feature is no number.
        #[cfg(feature = "onnx")]
        Bound::Graph(_) => uses.clear(),
    }
    uses
}
