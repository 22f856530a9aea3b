//! A page of text, tables and pictures, as Markdown or as HTML that needs nothing else.

use super::error::{ReportError, Result};
use super::escape;
use base64::prelude::{Engine, BASE64_STANDARD};
use std::path::Path;

/// A part of a [`Page`].
#[derive(Debug, Clone)]
pub enum Part {
    /// Of a section.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Rows of cells under a head.
    Table {
        /// One name a column.
        head: Vec<String>,
        /// As many cells each.
        rows: Vec<Vec<String>>,
    },
    /// An SVG document, and what it shows in a line.
    Figure {
        /// As [`super::confusion_matrix`] and its kin make them.
        svg: String,
        /// Under it.
        caption: String,
    },
    /// Parts that a reader unfolds.
    Folded {
        /// What is in there.
        summary: String,
        /// What unfolds.
        parts: Vec<Part>,
    },
}

impl Part {
    /// A table.
    pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Part {
        let head = head.map(str::to_string).to_vec();
        Part::Table { head, rows: rows.into_iter().map(|row| row.to_vec()).collect() }
    }
}

/// A title and what follows.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its name.
    pub title: String,
    /// In reading order.
    pub parts: Vec<Part>,
}

impl Page {
    /// Writes the page: Markdown for `.md` and `.markdown`, HTML for `.html` and `.htm`; the file appears whole or not at
    /// all.
    ///
    /// # Errors
    /// [`ReportError::Ending`], [`ReportError::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = if is_html(path)? { self.html() } else { self.markdown() };
        crate::checkpoint::write_atomically(path, text.as_bytes())
            .map_err(|source| ReportError::Io { path: path.to_path_buf(), source })
    }

    /// Checks that [`write`](Self::write) knows a file's format, before anything is computed.
    ///
    /// # Errors
    /// [`ReportError::Ending`].
    pub fn check_path(path: &Path) -> Result<()> {
        is_html(path).map(|_| ())
    }

    /// The page as Markdown.
    pub fn markdown(&self) -> String {
        format!("# {}\n\n{}", self.title, self.parts.iter().map(|part| part.markdown()).collect::<String>())
    }

    /// The page as HTML: one file without scripts that refers to no other.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let body: String = self.parts.iter().map(|part| part.html()).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n<h1>{title}</h1>\n{body}</html>\n"
        )
    }
}

fn is_html(path: &Path) -> Result<bool> {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("html" | "htm") => Ok(true),
        Some("md" | "markdown") => Ok(false),
        _ => Err(ReportError::Ending { path: path.to_path_buf() }),
    }
}

const STYLE: &str = "\
body { font-family: sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; line-height: 1.4; }
table { border-collapse: collapse; }
th, td { border: 1px solid #ccc; padding: 0.2em 0.6em; text-align: left; vertical-align: top; }
th { background: #f4f4f4; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
div.wide { overflow-x: auto; }
figure { display: inline-block; vertical-align: top; margin: 1em 1em 1em 0; max-width: 100%; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: #555; max-width: 34em; }
summary { cursor: pointer; margin: 0.5em 0; }
";

impl Part {
    fn markdown(&self) -> String {
        let cell = |text: &String| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
        let row =
            |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
        match self {
            Part::Heading(text) => format!("## {text}\n\n"),
            Part::Text(text) => format!("{text}\n\n"),
            Part::Table { head, rows } => {
                let line = format!("|{}\n", " --- |".repeat(head.len()));
                let rows: String = rows.iter().map(|cells| row(cells)).collect();
                format!("{}{line}{rows}\n", row(head))
            }
            Part::Figure { svg, caption } => {
                format!("![{}](data:image/svg+xml;base64,{})\n\n", cell(caption), BASE64_STANDARD.encode(svg))
            }
            Part::Folded { summary, parts } => {
                format!("{summary}\n\n{}", parts.iter().map(Part::markdown).collect::<String>())
            }
        }
    }

    fn html(&self) -> String {
        match self {
            Part::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
            Part::Text(text) => format!("<p>{}</p>\n", escape(text)),
            Part::Table { head, rows } => {
                let named = head.iter().any(|cell| !cell.is_empty());
                let head: String = head.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
                let head = if named { format!("<tr>{head}</tr>\n") } else { String::new() };
                let rows: String = rows.iter().map(|cells| html_row(cells)).collect();
                format!("<div class=\"wide\"><table>\n{head}{rows}</table></div>\n")
            }
            Part::Figure { svg, caption } => {
                format!("<figure>\n{svg}<figcaption>{}</figcaption></figure>\n", escape(caption))
            }
            Part::Folded { summary, parts } => {
                let parts: String = parts.iter().map(Part::html).collect();
                format!("<details><summary>{}</summary>\n{parts}</details>\n", escape(summary))
            }
        }
    }
}

fn html_row(cells: &[String]) -> String {
    let cell = |text: &String| {
        let number = text == "–" || text.trim_end_matches(" %").parse::<f64>().is_ok();
        format!("<td{}>{}</td>", if number { " class=\"number\"" } else { "" }, escape(text))
    };
    format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
}
