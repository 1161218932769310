//! Whether what campaigns read exists, and whether they may read it.

use miette::SourceSpan;

use super::{Campaign, CampaignSpec, Margin, Test};
use crate::error::{Problem, ProblemKind, Problems, SpecError};
use crate::feature::{FeatureSpec, FieldRef};
use crate::suggest;
use crate::vocabulary::FieldType;

impl CampaignSpec {
    /// Checks every feature and field that the campaigns name against the declared ones.
    ///
    /// # Errors
    /// Every name that is not declared, every field that is not a string, every excluded field that a rule reads; each
    /// points into this file's text.
    pub fn check(&self, features: &FeatureSpec) -> Result<(), SpecError> {
        let problems = Problems::default();
        for campaign in &self.campaigns {
            check_campaign(campaign, features, &problems);
        }
        problems.into_result(self.source.clone(), Some(()))
    }
}

fn check_campaign(campaign: &Campaign, features: &FeatureSpec, problems: &Problems) {
    for (field, span) in &campaign.excluded {
        find_field(field, *span, features, problems);
    }
    if let Margin::Feature { name, span } = &campaign.margin {
        check_feature(name, *span, campaign, features, problems);
    }
    for test in &campaign.eligible {
        match test {
            Test::Compare { feature, span, .. } | Test::Missing { feature, span } => {
                check_feature(feature, *span, campaign, features, problems);
            }
            Test::Is { field, span, .. } => {
                let Some(declared) = find_field(field, *span, features, problems) else { continue };
                if declared != FieldType::String {
                    let message = format!("`{field}` is a {declared} field where a string field is needed");
                    problems.report(Problem::new(ProblemKind::FieldType, *span, message, "needs a string field"));
                }
                refuse_excluded(std::slice::from_ref(field), &field.to_string(), *span, campaign, problems);
            }
            Test::And | Test::Or | Test::Not => {}
        }
    }
}

fn check_feature(name: &str, span: SourceSpan, campaign: &Campaign, features: &FeatureSpec, problems: &Problems) {
    let Some(position) = features.features.iter().position(|feature| feature.name == name) else {
        let known: Vec<_> = features.features.iter().map(|feature| feature.name.as_str()).collect();
        let message = format!("the features declare no `{name}`");
        let problem = Problem::new(ProblemKind::UnknownFeature, span, message, "unknown feature");
        return problems.report(problem.help(suggest::help(name, "features", &known)));
    };
    refuse_excluded(&features.fields_read(position), name, span, campaign, problems);
}

fn find_field(field: &FieldRef, span: SourceSpan, features: &FeatureSpec, problems: &Problems) -> Option<FieldType> {
    let of_scope = || features.fields.iter().filter(|declared| declared.scope == field.scope);
    let found = of_scope().find(|declared| declared.name == field.name).map(|declared| declared.ty);
    if found.is_none() {
        let known: Vec<_> = of_scope().map(|declared| declared.name.as_str()).collect();
        let message = format!("the features declare no field `{field}`");
        let problem = Problem::new(ProblemKind::UnknownField, span, message, "unknown field");
        problems.report(problem.help(suggest::help(&field.name, &format!("fields of the {}", field.scope), &known)));
    }
    found
}

fn refuse_excluded(read: &[FieldRef], what: &str, span: SourceSpan, campaign: &Campaign, problems: &Problems) {
    for (field, at) in &campaign.excluded {
        if read.contains(field) {
            let message = format!("`{what}` reads `{field}`, which campaign `{}` excludes", campaign.name);
            problems.report(
                Problem::new(ProblemKind::Conflict, span, message, "reads an excluded field")
                    .beside(*at, "excluded here"),
            );
        }
    }
}
