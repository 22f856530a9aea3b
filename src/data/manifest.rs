//! Lists of pictures and their labels: CSV or JSON lines.

use super::dataset::open_picture;
use super::{DataError, Dataset, Result, Target};
use crate::transforms::RgbImage;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Between the labels of one picture in CSV.
const LABEL_SEPARATOR: char = '|';

/// A file that lists pictures.
///
/// - `.csv`: the columns `path` and `label`, or `path` and `labels` with `|` between them (none: an empty field).
/// - `.jsonl`: `{"path": …, "label": …}` or `{"path": …, "labels": […]}` a line.
///
/// Paths are relative to the file. Classes are the labels that occur, by name. Every line has one `label`, or every line
/// `labels`: then a picture may show several classes or none, and its target is [`Target::Labels`].
#[derive(Debug, Clone)]
pub struct Manifest {
    file: PathBuf,
    classes: Vec<String>,
    pictures: Vec<(PathBuf, Target)>,
}

/// What a line says.
struct Line {
    number: usize,
    path: String,
    labels: Labels,
}

enum Labels {
    One(String),
    Several(Vec<String>),
}

impl Manifest {
    /// Reads the list; reads no picture.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Manifest`] with the line.
    pub fn open(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref().to_path_buf();
        let text =
            fs::read_to_string(&file).map_err(|source| DataError::Io { path: file.clone(), source })?;
        let problem = |line, reason: String| DataError::Manifest { path: file.clone(), line, reason };
        let json = file.extension().is_some_and(|ending| ending == "jsonl" || ending == "ndjson");
        let lines = if json { json_lines(&text) } else { csv_lines(&text) };
        let lines = lines.map_err(|(line, reason)| problem(line, reason))?;
        let first = lines.first().ok_or_else(|| problem(1, "the list has no pictures".to_string()))?;
        let several = matches!(first.labels, Labels::Several(_));
        if let Some(other) = lines.iter().find(|line| matches!(line.labels, Labels::Several(_)) != several) {
            let reason =
                "this line has one label where others have several, or the other way round".to_string();
            return Err(problem(other.number, reason));
        }
        let mut classes = BTreeSet::new();
        for line in &lines {
            match &line.labels {
                Labels::One(label) => drop(classes.insert(label.clone())),
                Labels::Several(labels) => classes.extend(labels.iter().cloned()),
            }
        }
        let classes: Vec<String> = classes.into_iter().collect();
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let place = |label: &String| classes.binary_search(label).unwrap_or_default();
        let pictures = lines.iter().map(|line| {
            let target = match &line.labels {
                Labels::One(label) => Target::Class(place(label)),
                Labels::Several(labels) => {
                    let mut there = vec![false; classes.len()];
                    labels.iter().for_each(|label| there[place(label)] = true);
                    Target::Labels(there)
                }
            };
            (folder.join(&line.path), target)
        });
        let pictures = pictures.collect();
        Ok(Manifest { file, classes, pictures })
    }

    /// The same list with these classes, in this order: a validation list need not show all that training knows.
    ///
    /// # Errors
    /// [`DataError::Manifest`] (line 0: the whole list) for a label that is none of them.
    pub fn with_classes(mut self, classes: &[String]) -> Result<Self> {
        let places: Option<Vec<usize>> =
            self.classes.iter().map(|class| classes.iter().position(|known| known == class)).collect();
        let Some(places) = places else {
            let unknown: Vec<_> =
                self.classes.iter().filter(|class| !classes.contains(class)).cloned().collect();
            let reason =
                format!("the labels {} are not among the classes {}", unknown.join(", "), classes.join(", "));
            return Err(DataError::Manifest { path: self.file, line: 0, reason });
        };
        for (_, target) in &mut self.pictures {
            match target {
                Target::Class(class) => *class = places[*class],
                Target::Labels(labels) => {
                    let mut there = vec![false; classes.len()];
                    labels.iter().zip(&places).for_each(|(is, &place)| there[place] = *is);
                    *labels = there;
                }
            }
        }
        self.classes = classes.to_vec();
        Ok(self)
    }
}

impl Dataset for Manifest {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> &Target {
        &self.pictures[index].1
    }

    fn name(&self, index: usize) -> String {
        self.pictures[index].0.display().to_string()
    }

    fn picture(&self, index: usize) -> Result<RgbImage> {
        open_picture(&self.pictures[index].0)
    }

    fn root(&self) -> &Path {
        &self.file
    }
}

/// A line's number and what is wrong with it.
type Problem = (usize, String);

fn json_lines(text: &str) -> std::result::Result<Vec<Line>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Record {
        path: String,
        label: Option<String>,
        labels: Option<Vec<String>>,
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let number = index + 1;
            let record: Record = serde_json::from_str(line).map_err(|error| (number, error.to_string()))?;
            let labels = match (record.label, record.labels) {
                (Some(label), None) => Labels::One(label),
                (None, Some(labels)) => Labels::Several(labels),
                _ => return Err((number, "a line needs `label`, or `labels`, and not both".to_string())),
            };
            Ok(Line { number, path: record.path, labels })
        })
        .collect()
}

fn csv_lines(text: &str) -> std::result::Result<Vec<Line>, Problem> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let problem = |error: csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        (line, error.to_string())
    };
    let headers = reader.headers().map_err(problem)?.clone();
    let column = |name: &str| headers.iter().position(|header| header.eq_ignore_ascii_case(name));
    let (Some(path), label, labels) = (column("path"), column("label"), column("labels")) else {
        return Err((
            1,
            format!(
                "the first line must name the columns `path` and `label` (or `labels`), it is {:?}",
                headers.iter().collect::<Vec<_>>().join(",")
            ),
        ));
    };
    let (place, several) = match (label, labels) {
        (Some(place), None) => (place, false),
        (None, Some(place)) => (place, true),
        _ => return Err((1, "the first line must name one column `label`, or one `labels`".to_string())),
    };
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(problem)?;
        let number = record.position().map_or(0, |position| position.line() as usize);
        let field = |index: usize| record.get(index).unwrap_or_default();
        if field(path).is_empty() || (!several && field(place).is_empty()) {
            return Err((number, "a picture's path or label is empty".to_string()));
        }
        let labels = if several {
            let labels = field(place).split(LABEL_SEPARATOR).map(str::trim).filter(|label| !label.is_empty());
            Labels::Several(labels.map(str::to_string).collect())
        } else {
            Labels::One(field(place).to_string())
        };
        lines.push(Line { number, path: field(path).to_string(), labels });
    }
    Ok(lines)
}
