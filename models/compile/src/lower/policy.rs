//! The slate of `model.toml` as the policy of a bundle.

use selvedge_format::explore::{ExploreKindV1, ExploreV1};
use selvedge_format::key;
use selvedge_format::policy::{AtMostV1, DiversityV1, ExcludeV1, MAX_RULES, MAX_SLATE, PolicyV1};
use selvedge_spec::{Diversity, ExploreKind, FeatureSpec, FieldScope, FieldType, ModelSpec};

use super::Fields;
use crate::error::{CompileError, CompileErrorKind};

/// Lowers the slate rules of a model over the fields of `features`.
///
/// # Errors
/// A rule over a field that is not a string field of the item; more rules, or a larger slate, than a bundle holds.
pub fn lower_policy(model: &ModelSpec, features: &FeatureSpec) -> Result<PolicyV1, CompileError> {
    let slate = &model.slate;
    if u32::from(slate.size) > MAX_SLATE {
        let message = format!("a slate of {} places, of which an engine fills at most {MAX_SLATE}", slate.size);
        let help = format!("set `size` to {MAX_SLATE} or less");
        return Err(CompileError::new(CompileErrorKind::Limit, "model.toml: [slate]", message, help));
    }
    for (rules, name) in [(slate.at_most.len(), "at_most"), (slate.exclude.len(), "exclude")] {
        if rules > MAX_RULES {
            let message = format!("{rules} rules, of which a bundle holds at most {MAX_RULES}");
            let place = format!("model.toml: [[slate.{name}]]");
            return Err(CompileError::new(CompileErrorKind::Limit, place, message, "keep the rules that matter most"));
        }
    }
    let fields = ItemStrings { spec: features, fields: Fields::of(features) };
    let at_most = slate.at_most.iter().map(|rule| {
        let field = fields.position(&rule.field, "[[slate.at_most]]")?;
        Ok(AtMostV1 { field, count: rule.max.into(), window: rule.window.into() })
    });
    let exclude = slate.exclude.iter().map(|rule| {
        let field = fields.position(&rule.field, "[[slate.exclude]]")?;
        Ok(ExcludeV1 { field, value: key(rule.value.as_bytes()) })
    });
    Ok(PolicyV1 {
        slate_size: slate.size.into(),
        exclude: exclude.collect::<Result<_, CompileError>>()?,
        at_most: at_most.collect::<Result<_, CompileError>>()?,
        diversity: slate.diversity.as_ref().map(|diversity| fields.diversity(diversity)).transpose()?,
    })
}

/// The exploration of a model, if it declares any.
pub(crate) fn lower_explore(model: &ModelSpec) -> Option<ExploreV1> {
    let explore = model.slate.explore?;
    let kind = match explore.kind {
        ExploreKind::Epsilon(epsilon) => ExploreKindV1::EpsilonGreedy { epsilon },
        ExploreKind::Temperature(temperature) => ExploreKindV1::Softmax { temperature },
    };
    Some(ExploreV1 { kind, seed: explore.seed })
}

struct ItemStrings<'a> {
    spec: &'a FeatureSpec,
    fields: Fields<'a>,
}

impl ItemStrings<'_> {
    fn position(&self, name: &str, rule: &str) -> Result<u16, CompileError> {
        let position = self.fields.get(FieldScope::Item, name);
        let is_string = |position: &u16| self.spec.fields[usize::from(*position)].ty == FieldType::String;
        position.filter(is_string).ok_or_else(|| {
            let message = format!("`{name}` is not a string field of the item");
            let help = format!("declare `{name} = \"string\"` under [fields.item] in features.toml");
            CompileError::new(CompileErrorKind::UnknownField, format!("model.toml: {rule}"), message, help)
        })
    }

    /// Weights become shares of their sum, so that items alike in all fields have the similarity 1.
    fn diversity(&self, diversity: &Diversity) -> Result<DiversityV1, CompileError> {
        let sum: f64 = diversity.similarity.iter().map(|term| f64::from(term.weight)).sum();
        let terms = diversity.similarity.iter().map(|term| {
            let field = self.position(&term.field, "[slate.diversity]")?;
            Ok((field, (f64::from(term.weight) / sum) as f32))
        });
        Ok(DiversityV1 { lambda: diversity.lambda, fields: terms.collect::<Result<_, CompileError>>()? })
    }
}
