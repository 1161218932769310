//! The inspection as text: one fact a line, names first, readable without colour.

use std::fmt::{self, Display, Formatter};

use super::{
    ArmInspection, BundleInspection, CampaignInspection, Inspection, ModelInspection, SharedInspection,
    TableInspection, span,
};

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(bundle) => bundle.fmt(f),
            Self::SharedState(shared) => shared.fmt(f),
        }
    }
}

impl Display for BundleInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "bundle {}", self.name.as_deref().unwrap_or("without names"))?;
        writeln!(f, "  id        {}", self.id)?;
        if let Some(producer) = &self.producer {
            writeln!(f, "  made by   {producer}")?;
        }
        writeln!(f, "  size      {} bytes", self.bytes)?;
        if let Some(seconds) = self.shared_refresh_s {
            writeln!(f, "  refresh   of the shared state every {}", span(seconds.into()))?;
        }

        writeln!(f, "\nsections")?;
        let width = width(self.sections.iter().map(|section| section.name.as_str()));
        for section in &self.sections {
            writeln!(f, "  {:width$}  {:>9} bytes  version {}", section.name, section.bytes, section.version)?;
        }
        self.features(f)?;
        self.state(f)?;
        for model in &self.models {
            write!(f, "\n{model}")?;
        }
        if self.stages.len() > 1 {
            writeln!(f, "\ncascade of {} stages", self.stages.len())?;
            self.stages.iter().zip(1..).try_for_each(|(stage, number)| match stage.keep {
                Some(keep) => writeln!(f, "  {number}  model {}, the best {keep} go on", stage.model),
                None => writeln!(f, "  {number}  model {}", stage.model),
            })?;
        }
        write!(f, "\n{}", self.cost)?;
        writeln!(f, "\nslate of {}", self.policy.slate_size)?;
        self.policy.rules.iter().try_for_each(|rule| writeln!(f, "  {rule}"))?;
        for campaign in &self.campaigns {
            write!(f, "\n{campaign}")?;
        }
        if !self.budgets.is_empty() {
            writeln!(f, "\nbudgets")?;
        }
        let names = self::width(self.budgets.iter().map(|budget| budget.name.as_str()));
        self.budgets.iter().try_for_each(|budget| {
            writeln!(f, "  {:names$}  price at most {} where nobody says another", budget.name, budget.highest_price)
        })
    }
}

impl Display for CampaignInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "campaign {}", self.name)?;
        self.rules.iter().try_for_each(|rule| writeln!(f, "  {rule}"))?;
        let names = width(self.arms.iter().map(|arm| arm.name.as_str()));
        self.arms.iter().try_for_each(|arm| {
            let ArmInspection { name, model, scale, shift, error, .. } = arm;
            write!(f, "  {name:names$}  model {model}, scale {scale}, shift {shift}, error {error}")?;
            match arm.terms.is_empty() {
                true => writeln!(f),
                false => writeln!(f, ": {}", arm.terms.join(", ")),
            }
        })
    }
}

impl BundleInspection {
    fn features(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nfields ({})", self.fields.len())?;
        let names = width(self.fields.iter().map(|field| field.name.as_str()));
        for field in &self.fields {
            writeln!(f, "  {:names$}  {:6}  {}", field.name, field.ty, field.id)?;
        }
        writeln!(f, "\nfeatures ({})", self.features.len())?;
        let names = width(self.features.iter().map(|feature| feature.name.as_str()));
        let kinds = width(self.features.iter().map(|feature| feature.kind.as_str()));
        for feature in &self.features {
            write!(f, "  {:names$}  {:kinds$}  default ", feature.name, feature.kind)?;
            match feature.default {
                Some(default) => write!(f, "{default}")?,
                None => f.write_str("nan")?,
            }
            match feature.transforms.is_empty() {
                true => writeln!(f)?,
                false => writeln!(f, "; {}", feature.transforms.join(", "))?,
            }
        }
        Ok(())
    }

    fn state(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nstate")?;
        writeln!(f, "  history of {} events", self.history_events)?;
        self.user_tables.iter().try_for_each(|table| writeln!(f, "  user    {table}"))?;
        self.global_tables.iter().try_for_each(|table| writeln!(f, "  global  {table}"))
    }
}

impl Display for TableInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.event, self.by)?;
        if let Some(capacity) = self.capacity {
            write!(f, ", at most {capacity} keys")?;
        }
        write!(f, ": {}", self.columns.join("; "))
    }
}

impl Display for ModelInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear { bias, link, weights } => {
                writeln!(f, "linear model: bias {bias}, {link} link")?;
                let names = width(weights.iter().map(|entry| entry.feature.as_str()));
                weights.iter().try_for_each(|entry| {
                    writeln!(f, "  {:names$}  weight {}, centre {}", entry.feature, entry.weight, entry.centre)
                })
            }
            Self::Trees { base, leaf, divisor, scale, link, trees, leaves, most_leaves, depth, splits } => {
                // What was an `f32` is shown as one.
                let base = if *leaf == "f32" { (*base as f32).to_string() } else { base.to_string() };
                write!(f, "tree model: {trees} trees, {leaves} leaves in {leaf}, base {base}, ")?;
                if (*divisor, *scale) != (1.0, 1.0) {
                    write!(f, "sum / {divisor} * {scale}, ")?;
                }
                writeln!(f, "{link} link")?;
                writeln!(f, "  largest tree {most_leaves} leaves, deepest {depth} levels")?;
                let names = width(splits.iter().map(|entry| entry.feature.as_str()));
                splits
                    .iter()
                    .try_for_each(|entry| writeln!(f, "  {:names$}  {:>6} splits", entry.feature, entry.splits))
            }
            Self::Graph(graph) => graph.fmt(f),
        }
    }
}

impl Display for SharedInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "shared state")?;
        writeln!(f, "  id     {}", self.id)?;
        writeln!(f, "  size   {} bytes", self.bytes)?;
        writeln!(f, "  as of  {} ms since 1970-01-01 UTC", self.as_of_ms)?;
        writeln!(f, "  items  {}", self.items)?;
        writeln!(f, "\nfields ({})", self.fields.len())?;
        self.fields.iter().try_for_each(|field| writeln!(f, "  {}  {}", field.id, field.ty))?;
        writeln!(f, "\ntables ({})", self.tables.len())?;
        self.tables
            .iter()
            .try_for_each(|table| writeln!(f, "  {}  {} keys: {}", table.id, table.rows, table.columns.join("; ")))
    }
}

fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0)
}
