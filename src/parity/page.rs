//! A report to read, to attach, to argue with: Markdown or HTML of one page.

use super::compare::Stage;
use super::error::{ParityError, Result};
use super::ParityReport;
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
    /// [`ParityError::ReportEnding`], [`ParityError::ReportIo`].
    pub fn write_page(&self, path: &Path, context: &PageContext) -> Result<()> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let page = self.page(context);
        let text = match ending.as_deref() {
            Some("md" | "markdown") => markdown(&page),
            Some("html" | "htm") => html(&page),
            _ => return Err(ParityError::ReportEnding { path: path.to_path_buf() }),
        };
        crate::checkpoint::write_atomically(path, text.as_bytes())
            .map_err(|source| ParityError::ReportIo { path: path.to_path_buf(), source })
    }

    fn page(&self, context: &PageContext) -> Vec<Part> {
        let mut parts = vec![Part::Title("Parity with PyTorch".to_string())];
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
        parts
    }
}

enum Part {
    Title(String),
    Heading(String),
    Text(String),
    Table { head: Vec<String>, rows: Vec<Vec<String>> },
}

impl Part {
    fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Part {
        let head = head.map(str::to_string).to_vec();
        Part::Table { head, rows: rows.into_iter().map(|row| row.to_vec()).collect() }
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

fn markdown(page: &[Part]) -> String {
    let cell = |text: &String| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    let row = |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
    let part = |part: &Part| match part {
        Part::Title(text) => format!("# {text}\n\n"),
        Part::Heading(text) => format!("## {text}\n\n"),
        Part::Text(text) => format!("{text}\n\n"),
        Part::Table { head, rows } => {
            let line = format!("|{}\n", " --- |".repeat(head.len()));
            let rows: String = rows.iter().map(|cells| row(cells)).collect();
            format!("{}{line}{rows}\n", row(head))
        }
    };
    page.iter().map(part).collect()
}

fn html(page: &[Part]) -> String {
    let escape = |text: &String| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let part = |part: &Part| match part {
        Part::Title(text) => format!("<h1>{}</h1>\n", escape(text)),
        Part::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
        Part::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Part::Table { head, rows } => {
            let rows: String = rows.iter().map(|cells| row(cells, "td")).collect();
            format!("<table>\n{}{rows}</table>\n", row(head, "th"))
        }
    };
    let body: String = page.iter().map(part).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Parity with PyTorch</title>\n<style>\n\
         body {{ font-family: sans-serif; margin: 2em; }}\ntable {{ border-collapse: collapse; }}\n\
         th, td {{ border: 1px solid #ccc; padding: 0.2em 0.6em; text-align: left; }}\n</style>\n{body}</html>\n"
    )
}
