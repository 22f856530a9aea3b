//! The worst mistakes, as pictures.

use super::error::Result;
use super::svg::{fitted, Anchor, Svg, COLORS, INK};
use crate::data::Dataset;
use crate::evaluate::Mistake;
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

/// The longer side of a picture on the sheet.
const SIDE: u32 = 144;
/// A picture's place, with its captions.
const CELL: (f64, f64) = (168.0, 218.0);
const COLUMNS: usize = 6;

/// The mistakes as an SVG document with the pictures in it: what each shows in green, what it was taken for in red, with
/// the probability of each. A picture that can no longer be read is an empty frame.
///
/// # Errors
/// [`super::ReportError::Encode`].
pub fn mistakes_sheet(mistakes: &[Mistake], dataset: &dyn Dataset) -> Result<String> {
    let columns = COLUMNS.min(mistakes.len()).max(1);
    let rows = mistakes.len().div_ceil(columns);
    let mut svg = Svg::new(columns as f64 * CELL.0 + 12.0, rows as f64 * CELL.1 + 8.0);
    for (index, mistake) in mistakes.iter().enumerate() {
        let (x, y) = ((index % columns) as f64 * CELL.0 + 12.0, (index / columns) as f64 * CELL.1 + 8.0);
        let side = f64::from(SIDE);
        let picture = (mistake.index < dataset.len()).then(|| dataset.picture(mistake.index).ok()).flatten();
        match picture {
            Some(picture) => {
                let (width, height) = fit(&picture);
                let place = [
                    x + (side - f64::from(width)) / 2.0,
                    y + (side - f64::from(height)) / 2.0,
                    width.into(),
                    height.into(),
                ];
                let (mime, bytes, pixelated) = encode(&picture, width, height)?;
                svg.image(place, mime, &bytes, pixelated);
            }
            None => svg.frame([x, y, side, side], "#999999"),
        }
        let name = mistake.image.rsplit(['/', '\\']).next().unwrap_or(&mistake.image);
        let lines = [
            (COLORS[2], said("", &mistake.truth)),
            (COLORS[3], said("→ ", &mistake.predicted)),
            ("#777777", name.to_string()),
        ];
        for (line, (color, text)) in lines.into_iter().enumerate() {
            let size = if line < 2 { 12.0 } else { 10.0 };
            let at = (x, y + side + 16.0 + 16.0 * line as f64);
            svg.text(at, Anchor::Start, size, color, &fitted(&text, size, CELL.0 - 10.0));
        }
    }
    if mistakes.is_empty() {
        svg.text((12.0, 24.0), Anchor::Start, 14.0, INK, "none");
    }
    Ok(svg.finish())
}

/// Names with their probabilities; of labels there may be none or several.
fn said(before: &str, classes: &[(String, f64)]) -> String {
    match classes {
        [] => format!("{before}–"),
        [(name, probability)] => format!("{before}{name} {:.0} %", 100.0 * probability),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            format!("{before}{}", names.join(", "))
        }
    }
}

/// The size on the sheet: small pictures grow by whole numbers.
fn fit(picture: &RgbImage) -> (u32, u32) {
    let (width, height) = (picture.width().max(1), picture.height().max(1));
    let longer = width.max(height);
    if longer <= SIDE {
        let factor = (SIDE / longer).max(1);
        return (width * factor, height * factor);
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(SIDE) / u64::from(longer)).max(1) as u32;
    (scaled(width), scaled(height))
}

/// Large pictures as a small JPEG, small ones as they are.
fn encode(picture: &RgbImage, width: u32, height: u32) -> Result<(&'static str, Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    if picture.width().max(picture.height()) <= SIDE {
        PngEncoder::new(&mut bytes).write_image(
            picture,
            picture.width(),
            picture.height(),
            ExtendedColorType::Rgb8,
        )?;
        return Ok(("image/png", bytes, true));
    }
    let filter = image::imageops::FilterType::Triangle;
    let small = image::imageops::resize(picture, width, height, filter);
    JpegEncoder::new_with_quality(&mut bytes, 85).write_image(
        &small,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(("image/jpeg", bytes, false))
}
