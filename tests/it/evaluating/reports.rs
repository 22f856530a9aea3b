//! Pictures and pages: whole, escaped, in need of nothing else.

use super::*;
use densenet::evaluate::{Bin, Calibration, ClassScores, Mistake};
use densenet::report::{
    confusion_matrix, evaluation_page, line_chart, mistakes_sheet, most_confused, reliability_diagram, Chart,
    EvaluationPage, Line,
};
use serde_json::Value;
use std::process::Command;

/// A name that would do harm where it is not escaped.
const HOSTILE: &str = "</title><script>alert('1 & 2')</script>\u{1b}[2J\"";

/// An evaluation of so many classes, with hits, some mistakes, and names that would do harm.
fn made_up(classes: usize) -> Evaluation {
    let mut confusion = vec![vec![0u32; classes]; classes];
    for (class, row) in confusion.iter_mut().enumerate() {
        row[class] = 5 + (class % 7) as u32;
        row[(class * 7 + 3) % classes] += 1;
    }
    let name = |class: usize| format!("{HOSTILE} {class}");
    let scores = (0..classes).map(|class| ClassScores {
        name: name(class),
        output: class,
        images: confusion[class].iter().sum::<u32>() as usize,
        predicted: confusion.iter().map(|row| row[class]).sum::<u32>() as usize,
        hits: confusion[class][class] as usize,
        precision: Some(0.9),
        recall: Some(0.8),
        f1: Some(1.0 / (class + 1) as f64),
        auroc: None,
    });
    let bins = (0..15).map(|bin| Bin {
        low: f64::from(bin) / 15.0,
        high: f64::from(bin + 1) / 15.0,
        count: bin as usize,
        confidence: (bin > 0).then_some((f64::from(bin) + 0.5) / 15.0),
        accuracy: (bin > 0).then_some(f64::from(bin) / 20.0),
    });
    let mistake = |index| Mistake {
        image: format!("{HOSTILE}/{index}.png"),
        index,
        loss: 3.0,
        truth: vec![(name(0), 0.01)],
        predicted: vec![(name(1), 0.98)],
    };
    Evaluation {
        top1: Some(0.9),
        top5: Some(0.99),
        loss: 0.3,
        images: classes * 8,
        skipped: Vec::new(),
        outputs: Outputs::Classes,
        crops: 1,
        exact_match: None,
        macro_precision: Some(0.9),
        macro_recall: Some(0.8),
        macro_f1: Some(0.85),
        macro_auroc: None,
        calibration: Calibration { ece: 0.1, mce: 0.2, bins: bins.collect() },
        classes: scores.collect(),
        confusion,
        mistakes: (0..3).map(mistake).collect(),
        note: Some(HOSTILE.to_string()),
    }
}

/// Holds nothing that a browser would run or fetch.
#[track_caller]
fn assert_self_contained(page: &str) {
    for forbidden in ["<script", "javascript:", "<link", "<iframe", "onerror=", "url(", "@import", "\u{1b}"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for (at, _) in page.match_indices("href=") {
        assert!(page[at..].starts_with("href=\"data:image/"), "{}", &page[at..at + 60]);
    }
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn pages_of_two_to_a_thousand_classes_escape_every_name_and_need_no_other_file() {
    let folder = scratch();
    let dataset = two(folder.path(), ["Bag", "Coat"]);
    for classes in [2, 12, 41, 1000] {
        let evaluation = made_up(classes);
        let facts = [(HOSTILE.to_string(), HOSTILE.to_string())];
        let lines = [Line::new(HOSTILE, vec![(1.0, 0.5), (2.0, 0.25)])];
        let chart =
            Chart { title: HOSTILE, x_label: HOSTILE, y_label: HOSTILE, from_zero: true, lines: &lines };
        let before = [densenet::report::Part::Figure { svg: line_chart(&chart), caption: HOSTILE.into() }];
        let page = EvaluationPage {
            title: HOSTILE,
            facts: &facts,
            evaluation: &evaluation,
            dataset: &*dataset,
            before: &before,
        };
        let path = folder.path().join("report.html");
        let page = evaluation_page(&page).unwrap();
        page.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_self_contained(&text);
        // Curves, confusion, reliability, mistakes: each a document of its own that a strict parser reads.
        assert_eq!(ask("parse_xml", json!({ "path": path })), 4);
        assert!(text.len() < 3_000_000, "{classes} classes: {} bytes", text.len());
        assert!(page.markdown().contains("data:image/svg+xml;base64,"));
        // The third mistake's picture is not there any more: an empty frame.
        assert_eq!(text.matches("data:image/png").count(), if classes > 40 { 3 } else { 2 });
    }
}

#[test]
fn a_named_confusion_matrix_tells_every_cell_and_leaves_out_what_nothing_is_known_of() {
    let mut evaluation = made_up(3);
    for class in &mut evaluation.classes {
        class.name = ["ant", "bee", "cow"][class.output].to_string();
    }
    evaluation.confusion = vec![vec![6, 2, 0], vec![1, 3, 0], vec![0, 0, 0]];
    for (class, (images, predicted)) in [(8, 7), (4, 5), (0, 0)].into_iter().enumerate() {
        (evaluation.classes[class].images, evaluation.classes[class].predicted) = (images, predicted);
    }
    let svg = confusion_matrix(&evaluation).unwrap();
    for title in
        ["ant taken for ant: 6 (75.0 %)", "ant taken for bee: 2 (25.0 %)", "bee taken for ant: 1 (25.0 %)"]
    {
        assert!(svg.contains(title), "{title}");
    }
    assert!(!svg.contains("cow"));
    assert_eq!(most_confused(&evaluation, 5), [(0, 1, 2), (1, 0, 1)]);
}

#[test]
fn pictures_of_nothing_are_pictures() {
    let folder = scratch();
    let dataset = two(folder.path(), ["Bag", "Coat"]);
    let mut evaluation = made_up(2);
    evaluation.calibration.bins.iter_mut().for_each(|bin| {
        *bin = Bin { count: 0, confidence: None, accuracy: None, ..bin.clone() };
    });
    let empty = Evaluation { classes: vec![], confusion: vec![], mistakes: vec![], ..evaluation };
    let svgs = [
        confusion_matrix(&empty).unwrap(),
        reliability_diagram(&empty.calibration),
        mistakes_sheet(&empty.mistakes, &*dataset).unwrap(),
    ];
    for svg in svgs {
        let path = folder.path().join("picture.svg");
        std::fs::write(&path, svg).unwrap();
        assert_eq!(ask("parse_xml", json!({ "path": path })), 1);
    }
}

#[test]
fn the_command_prints_one_object_and_writes_page_and_pictures() {
    let folder = scratch();
    let (list, _) = class_list(folder.path());
    let report = folder.path().join("report.html");
    let pictures = folder.path().join("pictures");
    let command = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
        command
            .args(["evaluate", "--weights", "fashion_mnist", "--data", list.to_str().unwrap()])
            .args(extra);
        command.output().unwrap()
    };
    let run =
        command(&["--json", "--report", report.to_str().unwrap(), "--pictures", pictures.to_str().unwrap()]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let lines = String::from_utf8(run.stdout).unwrap();
    assert_eq!(lines.lines().count(), 1);
    let evaluation: Evaluation = serde_json::from_str(&lines).unwrap();
    assert_eq!((evaluation.images, evaluation.crops), (60, 1));
    let value: Value = serde_json::from_str(&lines).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().take(4).collect();
    assert_eq!(keys, ["top1", "top5", "loss", "images"]);
    assert_self_contained(&std::fs::read_to_string(&report).unwrap());
    assert_eq!(ask("parse_xml", json!({ "path": report })), 3);
    for name in ["confusion.svg", "reliability.svg", "mistakes.svg"] {
        assert_eq!(ask("parse_xml", json!({ "path": pictures.join(name) })), 1, "{name}");
    }
    // Told before anything is computed.
    let unwritable = command(&["--report", "report.txt"]);
    assert!(String::from_utf8_lossy(&unwritable.stderr).contains(".html"), "{unwritable:?}");

    std::fs::write(folder.path().join("007.png"), "no picture").unwrap();
    let stopped = command(&[]);
    let error = String::from_utf8(stopped.stderr).unwrap();
    assert!(
        stopped.status.code() == Some(1) && error.contains("007.png") && error.lines().count() == 1,
        "{error}"
    );
    let text = String::from_utf8(command(&["--skip-unreadable", "--ten-crop"]).stdout).unwrap();
    assert!(text.starts_with("59 pictures, loss ") && text.contains("top-1 "), "{text}");
    let skipped = command(&["--skip-unreadable", "--json"]);
    assert_eq!(skipped.status.code(), Some(1));
    let evaluation: Evaluation = serde_json::from_slice(&skipped.stdout).unwrap();
    assert_eq!((evaluation.images, evaluation.skipped.len()), (59, 1));
}
