//! A page about an evaluation.

use super::{
    confusion_matrix, mistakes_sheet, most_confused, percent, reliability_diagram, Page, Part, Result,
};
use crate::data::Dataset;
use crate::evaluate::{ClassScores, Evaluation};
use crate::weights::Outputs;

/// Rows of the tables that stand open.
const OPEN_ROWS: usize = 25;

/// What a page about an evaluation is made from.
#[derive(Clone, Copy)]
pub struct EvaluationPage<'a> {
    /// Over the page.
    pub title: &'a str,
    /// What was evaluated on what: rows of a table.
    pub facts: &'a [(String, String)],
    /// What came out.
    pub evaluation: &'a Evaluation,
    /// The pictures, for the sheet of mistakes.
    pub dataset: &'a dyn Dataset,
    /// Parts between the summary and the rest: a run's curves.
    pub before: &'a [Part],
}

/// The page: summary, calibration, who is taken for whom, scores of each class, the worst mistakes.
///
/// # Errors
/// [`super::ReportError::Encode`].
pub fn evaluation_page(page: &EvaluationPage) -> Result<Page> {
    let evaluation = page.evaluation;
    let labels = evaluation.outputs == Outputs::Labels;
    let mut parts = vec![Part::Text(verdict(evaluation))];
    parts.extend(evaluation.note.iter().map(|note| Part::Text(format!("Note: {note}."))));
    parts.push(summary(page.facts, evaluation));
    parts.extend_from_slice(page.before);
    if !labels {
        parts.push(Part::Heading("Who is taken for whom".to_string()));
        parts.push(Part::Figure {
            svg: confusion_matrix(evaluation)?,
            caption:
                "Each row is a class; shades are shares of the row. Blue is right, red is wrong (its shades \
                      are stretched, so that few mistakes show too)."
                    .to_string(),
        });
        parts.extend(confused(evaluation));
    }
    parts.push(Part::Heading(if labels { "Labels" } else { "Classes" }.to_string()));
    parts.extend(classes(evaluation));
    parts.push(Part::Heading("How far probabilities can be believed".to_string()));
    parts.push(Part::Figure {
        svg: reliability_diagram(&evaluation.calibration),
        caption: "On the dashed line probabilities are what they promise; below it the network is too sure."
            .to_string(),
    });
    parts.push(Part::Heading("The worst mistakes".to_string()));
    match evaluation.mistakes.is_empty() {
        true => parts.push(Part::Text("None.".to_string())),
        false => parts.push(Part::Figure {
            svg: mistakes_sheet(&evaluation.mistakes, page.dataset)?,
            caption: "By loss, the worst first: what each picture shows, and what it was taken for."
                .to_string(),
        }),
    }
    if !evaluation.skipped.is_empty() {
        parts.push(Part::Heading("Pictures that could not be read".to_string()));
        let rows = evaluation.skipped.iter().map(|skipped| [skipped.image.clone(), skipped.error.clone()]);
        parts.push(Part::table(["picture", "why"], rows));
    }
    Ok(Page { title: page.title.to_string(), parts })
}

fn verdict(evaluation: &Evaluation) -> String {
    let images = evaluation.images;
    match (evaluation.top1, evaluation.exact_match) {
        (Some(top1), _) => {
            let right = (top1 * images as f64).round();
            format!("{right} of {images} pictures are right: {}.", percent(top1))
        }
        (None, Some(exact)) => format!("Of {images} pictures {} have every label right.", percent(exact)),
        (None, None) => format!("{images} pictures."),
    }
}

fn summary(facts: &[(String, String)], evaluation: &Evaluation) -> Part {
    let mut rows: Vec<[String; 2]> =
        facts.iter().map(|(name, value)| [name.clone(), value.clone()]).collect();
    let mut row = |name: &str, value: String| rows.push([name.to_string(), value]);
    let shares = [
        ("top-1", evaluation.top1),
        ("top-5", evaluation.top5.filter(|_| evaluation.classes.len() > 5)),
        ("every label right", evaluation.exact_match),
        ("mean precision of classes", evaluation.macro_precision),
        ("mean recall of classes", evaluation.macro_recall),
        ("mean F1 of classes", evaluation.macro_f1),
    ];
    for (name, share) in shares {
        if let Some(share) = share {
            row(name, percent(share));
        }
    }
    if let Some(auroc) = evaluation.macro_auroc {
        row("mean AUROC of labels", format!("{auroc:.4}"));
    }
    row("loss", format!("{:.4}", evaluation.loss));
    row("expected calibration error", percent(evaluation.calibration.ece));
    if evaluation.crops > 1 {
        row("crops averaged", evaluation.crops.to_string());
    }
    if !evaluation.skipped.is_empty() {
        row("pictures that could not be read", evaluation.skipped.len().to_string());
    }
    Part::table(["", ""], rows)
}

fn confused(evaluation: &Evaluation) -> Option<Part> {
    let pairs = most_confused(evaluation, 20);
    let name = |class: usize| evaluation.classes[class].name.clone();
    let rows = pairs.iter().map(|&(truth, predicted, count)| {
        let share = f64::from(count) / evaluation.classes[truth].images.max(1) as f64;
        [name(truth), name(predicted), count.to_string(), percent(share)]
    });
    let table = Part::table(["shown", "taken for", "pictures", "of the class"], rows);
    let summary = "The pairs that are confused most".to_string();
    (!pairs.is_empty()).then(|| Part::Folded { summary, parts: vec![table] })
}

/// All classes where there are few, else the worst by F1 and the rest folded.
fn classes(evaluation: &Evaluation) -> Vec<Part> {
    let mut known: Vec<&ClassScores> =
        evaluation.classes.iter().filter(|class| class.images > 0 || class.predicted > 0).collect();
    if known.len() <= OPEN_ROWS {
        return vec![table(&known)];
    }
    let all = table(&known);
    let f1 = |class: &ClassScores| class.f1.unwrap_or(0.0);
    known.sort_by(|a, b| f1(a).total_cmp(&f1(b)).then(a.output.cmp(&b.output)));
    known.truncate(OPEN_ROWS);
    vec![
        Part::Text(format!("The {OPEN_ROWS} with the lowest F1:")),
        table(&known),
        Part::Folded { summary: "All, in the order of the network's outputs".to_string(), parts: vec![all] },
    ]
}

fn table(classes: &[&ClassScores]) -> Part {
    let labels = classes.iter().any(|class| class.auroc.is_some());
    let share = |share: Option<f64>| share.map_or("–".to_string(), percent);
    let mut head = vec!["class", "pictures", "precision", "recall", "F1"];
    if labels {
        head.push("AUROC");
    }
    let rows = classes.iter().map(|class| {
        let mut row = vec![class.name.clone(), class.images.to_string()];
        row.extend([share(class.precision), share(class.recall), share(class.f1)]);
        if labels {
            row.push(class.auroc.map_or("–".to_string(), |auroc| format!("{auroc:.4}")));
        }
        row
    });
    Part::Table { head: head.into_iter().map(str::to_string).collect(), rows: rows.collect() }
}
