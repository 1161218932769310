//! What a person sees of a mistake: as the command prints it, without colour and at one width.

use miette::{GraphicalReportHandler, GraphicalTheme};
use selvedge_spec::SpecError;

pub(crate) fn render(error: &SpecError) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(120)
        .render_report(&mut text, error)
        .expect("rendering to a string");
    text
}
