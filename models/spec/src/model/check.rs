//! Whether a model's slate rules refer to fields that exist.

use miette::SourceSpan;

use super::ModelSpec;
use crate::error::{Problem, ProblemKind, Problems, SpecError};
use crate::feature::FeatureSpec;
use crate::suggest;
use crate::vocabulary::{FieldScope, FieldType};

impl ModelSpec {
    /// Checks every field that the slate rules name against the features the model is trained on.
    ///
    /// # Errors
    /// Every name that is not a string field of the item, pointing into this model's text.
    pub fn check(&self, features: &FeatureSpec) -> Result<(), SpecError> {
        let problems = Problems::default();
        let at_most = self.slate.at_most.iter().map(|rule| (&rule.field, rule.span));
        let exclude = self.slate.exclude.iter().map(|rule| (&rule.field, rule.span));
        let terms = self.slate.diversity.iter().flat_map(|diversity| &diversity.similarity);
        for (field, span) in at_most.chain(exclude).chain(terms.map(|term| (&term.field, term.span))) {
            check_field(features, field, span, &problems);
        }
        problems.into_result(self.source.clone(), Some(()))
    }
}

fn check_field(features: &FeatureSpec, name: &str, span: SourceSpan, problems: &Problems) {
    let of_items = || features.fields.iter().filter(|field| field.scope == FieldScope::Item);
    match of_items().find(|field| field.name == name) {
        Some(field) if field.ty == FieldType::String => {}
        Some(field) => {
            let message = format!("`item.{name}` is a {} field where a string field is needed", field.ty);
            problems.report(Problem::new(ProblemKind::FieldType, span, message, "needs a string field"));
        }
        None => {
            let strings: Vec<_> =
                of_items().filter(|field| field.ty == FieldType::String).map(|field| field.name.as_str()).collect();
            let problem = Problem::new(
                ProblemKind::UnknownField,
                span,
                format!("the features declare no item field `{name}`"),
                "unknown item field",
            );
            problems.report(problem.help(suggest::help(name, "string fields of items", &strings)));
        }
    }
}
