//! Pages and pictures for people: curves, who is taken for whom, how far probabilities can be believed, the worst mistakes.
//!
//! - [`Page`] of [`Part`]s: Markdown or HTML that needs no other file and runs no script.
//! - [`line_chart`], [`confusion_matrix`], [`reliability_diagram`], [`mistakes_sheet`]: SVG documents.
//! - [`evaluation_page`]: all of it for an [`Evaluation`](crate::evaluate::Evaluation).
//!
//! May use `data`'s pictures and `evaluate`'s results. Invariant: every name and label is escaped, whatever it holds.
//! The pictures are written here and not by a plotting library: a heat map of a thousand classes, pictures in a sheet and
//! titles under the mouse are what such libraries have least of, and the library needs no fonts to measure text with.

mod confusion;
mod curves;
mod error;
mod evaluation;
mod page;
mod reliability;
mod sheet;
mod svg;

pub use confusion::{confusion_matrix, most_confused};
pub use curves::{line_chart, Chart, Line};
pub use error::{ReportError, Result};
pub use evaluation::{evaluation_page, EvaluationPage};
pub use page::{Page, Part};
pub use reliability::reliability_diagram;
pub use sheet::mistakes_sheet;

/// Text for HTML and XML. Control characters are no XML at all: they become a question mark in a lozenge.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A share for people.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
