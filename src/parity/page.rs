//! A report to read, to attach, to argue with: Markdown or HTML of one page.

use super::compare::Stage;
use super::error::Result;
use super::ParityReport;
use crate::report::{Page, Part};
use std::path::Path;

/// Tensors in the table of the worst.
const WORST: usize = 20;

/// What the page says beside the comparison.
#[derive(Debug, Clone, Default)]
pub struct PageContext {
    /// Lines of a table: what was compared with what, on which machine.
    pub facts: Vec<(String, String)>,
    /// Absolute differences up to this were accepted.
    pub tolerance: f64,
}

impl ParityReport {
    /// Whether every difference is within `tolerance`; 0 asks for the same bits (−0 is not 0, and NaN is only NaN's
    /// equal).
    pub fn is_within(&self, tolerance: f64) -> bool {
        self.first_difference.is_none()
            || (tolerance > 0.0 && !self.max_abs.is_nan() && self.max_abs <= tolerance)
    }

    /// Writes the report as a page: Markdown for `.md` and `.markdown`, HTML for `.html` and `.htm`.
    ///
    /// # Errors
    /// [`ParityError::Report`](super::ParityError::Report).
    pub fn write_page(&self, path: &Path, context: &PageContext) -> Result<()> {
        Ok(self.page(context).write(path)?)
    }

    fn page(&self, context: &PageContext) -> Page {
        let mut parts = Vec::new();
        let verdict = match (&self.first_difference, self.is_within(context.tolerance)) {
            (None, _) => format!("Equal: all {} tensors are the same bits.", self.stages.len()),
            (Some(first), true) => format!(
                "Equal within {:e}: the largest difference is {:.3e}. The first stage that differs at all is {first}.",
                context.tolerance, self.max_abs
            ),
            (Some(first), false) => format!(
                "Not equal within {:e}: the largest difference is {:.3e}. The first stage that differs is {first}.",
                context.tolerance, self.max_abs
            ),
        };
        parts.push(Part::Text(verdict));
        parts.extend(self.warnings.iter().map(|warning| Part::Text(format!("Warning: {warning}."))));
        let mut facts = context.facts.clone();
        if let Some(share) = self.top1_agreement {
            facts.push(("likeliest classes that agree".to_string(), format!("{:.2} %", 100.0 * share)));
        }
        if let Some(whole) = &self.from_file {
            let what = "logits from the picture's file, every step on ours".to_string();
            facts.push((what, format!("max abs {:.3e}, max ULP {}", whole.max_abs, whole.max_ulp)));
        }
        parts.push(Part::table(["", ""], facts.into_iter().map(|(name, value)| [name, value])));
        let mut worst: Vec<&Stage> = self.stages.iter().filter(|stage| stage.differing > 0).collect();
        worst.sort_by(|a, b| b.relative.total_cmp(&a.relative));
        worst.truncate(WORST);
        if !worst.is_empty() {
            parts.push(Part::Heading(format!("The worst tensors ({} at most)", WORST)));
            parts.push(stages(&worst));
        }
        parts.push(Part::Heading("All tensors, in the order of computation".to_string()));
        parts.push(stages(&self.stages.iter().collect::<Vec<_>>()));
        Page { title: "Parity with PyTorch".to_string(), parts }
    }
}

fn stages(stages: &[&Stage]) -> Part {
    let head =
        ["tensor", "shape", "differing", "max abs", "relative", "max ULP", "worst at", "reference", "here"];
    Part::table(
        head,
        stages.iter().map(|stage| {
            let values: i64 = stage.shape.iter().product();
            let worst = stage.worst.as_ref();
            let number = |number: Option<f64>| number.map_or(String::new(), |number| format!("{number:e}"));
            [
                stage.name.clone(),
                format!("{:?}", stage.shape),
                format!("{} of {values}", stage.differing),
                format!("{:.3e}", stage.max_abs),
                format!("{:.3e}", stage.relative),
                stage.max_ulp.to_string(),
                worst.map_or(String::new(), |worst| format!("{:?}", worst.index)),
                number(worst.map(|worst| worst.reference)),
                number(worst.map(|worst| worst.ours)),
            ]
        }),
    )
}
