//! Who is taken for whom, as a picture.

use super::error::Result;
use super::svg::{fitted, width, Anchor, Svg, INK};
use crate::evaluate::Evaluation;
use image::{ExtendedColorType, ImageEncoder};

/// Up to here every class has its name and every cell its count.
const NAMED: usize = 40;
/// The side of the heat map of more classes, in pixels: at least, and at most. Between them a class is a pixel.
const MAP: [f64; 2] = [760.0, 1100.0];

/// The confusion matrix as an SVG document: rows are what pictures show, columns what they were taken for, shades shares
/// of the row; right ones are blue, wrong ones red. Classes of which nothing is known (no pictures, never predicted) are
/// left out. Up to 40 classes with names and counts, more as a map of pixels.
///
/// # Errors
/// [`super::ReportError::Encode`].
pub fn confusion_matrix(evaluation: &Evaluation) -> Result<String> {
    let shown: Vec<usize> = (0..evaluation.classes.len())
        .filter(|&class| evaluation.classes[class].images > 0 || evaluation.classes[class].predicted > 0)
        .collect();
    if shown.len() <= NAMED {
        Ok(named(evaluation, &shown))
    } else {
        map(evaluation, &shown)
    }
}

/// The pairs (shown, taken for, how often) that are confused most, the most frequent first.
pub fn most_confused(evaluation: &Evaluation, count: usize) -> Vec<(usize, usize, u32)> {
    let rows = evaluation.confusion.iter().enumerate();
    let mut pairs: Vec<(usize, usize, u32)> = rows
        .flat_map(|(truth, row)| {
            row.iter().enumerate().map(move |(predicted, count)| (truth, predicted, *count))
        })
        .filter(|(truth, predicted, count)| truth != predicted && *count > 0)
        .collect();
    pairs.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(&b.0)).then(a.1.cmp(&b.1)));
    pairs.truncate(count);
    pairs
}

/// A cell's share of its row; 0 of an empty row.
fn share(evaluation: &Evaluation, truth: usize, predicted: usize) -> f64 {
    let images = evaluation.classes[truth].images.max(1);
    f64::from(evaluation.confusion[truth][predicted]) / images as f64
}

/// White to blue or red.
fn color(share: f64, right: bool) -> [u8; 3] {
    let full = if right { [8.0, 81.0, 156.0] } else { [165.0, 15.0, 21.0] };
    // A single mistake among many should be seen too.
    let strength = match (right, share > 0.0) {
        (false, true) => 0.2 + 0.8 * share.sqrt(),
        _ => share,
    };
    full.map(|level: f64| (255.0 + (level - 255.0) * strength).round() as u8)
}

fn named(evaluation: &Evaluation, shown: &[usize]) -> String {
    let count = shown.len().max(1);
    let cell = (600.0 / count as f64).clamp(20.0, 72.0);
    let side = cell * count as f64;
    let size = if cell >= 30.0 { 13.0 } else { 11.0 };
    let names: Vec<String> =
        shown.iter().map(|&class| fitted(&evaluation.classes[class].name, size, 200.0)).collect();
    let longest = names.iter().map(|name| width(name, size)).fold(40.0, f64::max);
    // Names over columns lean to the right, past the last one.
    let (left, top) = (longest + 42.0, 0.77 * longest + 46.0);
    let mut svg = Svg::new((left + side + 0.75 * longest + 10.0).max(420.0), top + side + 12.0);
    let middle = left + side / 2.0;
    svg.text((middle, 18.0), Anchor::Middle, 13.0, INK, "taken for");
    svg.turned_text((18.0, top + side / 2.0), -90.0, Anchor::Middle, 13.0, INK, "shown");
    for (row, (&truth, name)) in shown.iter().zip(&names).enumerate() {
        let y = top + row as f64 * cell;
        svg.text((left - 8.0, y + cell / 2.0 + size / 3.0), Anchor::End, size, INK, name);
        let above = (left + (row as f64 + 0.5) * cell, top - 8.0);
        svg.turned_text(above, -50.0, Anchor::Start, size, INK, name);
        for (column, &predicted) in shown.iter().enumerate() {
            let count = evaluation.confusion[truth][predicted];
            let share = share(evaluation, truth, predicted);
            let [r, g, b] = color(share, truth == predicted);
            let x = left + column as f64 * cell;
            let classes = &evaluation.classes;
            let title = format!(
                "{} taken for {}: {count} ({:.1} %)",
                classes[truth].name,
                classes[predicted].name,
                100.0 * share
            );
            let place = [x, y, cell - 1.0, cell - 1.0];
            svg.titled_rect(place, &format!("#{r:02x}{g:02x}{b:02x}"), &title);
            if count > 0 {
                let text = count.to_string();
                let dark = u32::from(r) + u32::from(g) + u32::from(b) < 400;
                let ink = if dark { "#ffffff" } else { INK };
                let fits = (cell * 0.9 / width(&text, 1.0)).min(cell * 0.4).min(14.0);
                svg.text((x + cell / 2.0, y + cell / 2.0 + fits / 3.0), Anchor::Middle, fits, ink, &text);
            }
        }
    }
    svg.frame([left - 0.5, top - 0.5, side, side], INK);
    svg.finish()
}

fn map(evaluation: &Evaluation, shown: &[usize]) -> Result<String> {
    let count = shown.len();
    let mut pixels = Vec::with_capacity(count * count * 3);
    for &truth in shown {
        for &predicted in shown {
            pixels.extend(color(share(evaluation, truth, predicted), truth == predicted));
        }
    }
    let mut png = Vec::new();
    let side = count as u32;
    image::codecs::png::PngEncoder::new(&mut png).write_image(
        &pixels,
        side,
        side,
        ExtendedColorType::Rgb8,
    )?;
    let (left, top, map) = (76.0, 56.0, (count as f64).clamp(MAP[0], MAP[1]));
    let mut svg = Svg::new(left + map + 24.0, top + map + 16.0);
    svg.text((left + map / 2.0, 18.0), Anchor::Middle, 13.0, INK, "taken for (number of the class)");
    svg.turned_text((18.0, top + map / 2.0), -90.0, Anchor::Middle, 13.0, INK, "shown (number of the class)");
    // Larger than the screen's pixels: shrunk smoothly, so that no mistake falls between them.
    svg.image([left, top, map, map], "image/png", &png, count as f64 <= map);
    svg.frame([left, top, map, map], INK);
    let step =
        [5, 10, 20, 50, 100, 200, 500, 1000].into_iter().find(|step| count / step <= 12).unwrap_or(5000);
    for place in (0..count).step_by(step) {
        let at = (place as f64 + 0.5) / count as f64 * map;
        let number = evaluation.classes[shown[place]].output.to_string();
        svg.line([left - 5.0, top + at, left, top + at], INK, 1.0);
        svg.text((left - 8.0, top + at + 4.0), Anchor::End, 12.0, INK, &number);
        svg.line([left + at, top - 5.0, left + at, top], INK, 1.0);
        svg.text((left + at, top - 9.0), Anchor::Middle, 12.0, INK, &number);
    }
    Ok(svg.finish())
}
