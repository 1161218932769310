//! Which of several outputs of a model ranks.
//!
//! A model of several classes has a raw score for each, and a ranking needs one number. Which one is nothing that a file
//! says: `output = "class:2"` in model.toml does. That class's raw score is read as a model of its own, from the trees and
//! the base of the class alone. Its probability is not: the softmax needs the scores of all classes.

use selvedge_spec::ModelOutput;

use crate::error::{CompileError, CompileErrorKind};

/// What model.toml says about it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Output(pub(super) Option<ModelOutput>);

impl Output {
    /// The output that ranks, of `count`, which the file says at `place`.
    pub(crate) fn of(self, count: usize, place: &str) -> Result<usize, CompileError> {
        let refuse =
            |message: String, help: &str| Err(CompileError::new(CompileErrorKind::Unsupported, place, message, help));
        let range = format!(
            "write `output = \"class:K\"` under [model] in model.toml, with K from 0 to {}, to rank by \
            the raw score of that class",
            count.saturating_sub(1)
        );
        match self.0 {
            None if count <= 1 => Ok(0),
            None => {
                refuse(format!("the model gives a score for each of {count} classes, and a ranking needs one"), &range)
            }
            Some(ModelOutput::Class(class)) if count <= 1 => refuse(
                format!("the model has one score, and class {class} is asked for"),
                "leave out `output` in model.toml",
            ),
            Some(ModelOutput::Class(class)) => match usize::try_from(class) {
                Ok(class) if class < count => Ok(class),
                _ => refuse(format!("the model has {count} classes, and class {class} is asked for"), &range),
            },
        }
    }
}
