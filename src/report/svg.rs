//! A picture made of rectangles, lines and text. Enough for charts, with every name escaped.

use super::escape;
use base64::prelude::{Engine, BASE64_STANDARD};
use std::fmt::Write;

/// Blue, orange, green, red, violet, brown, pink, gray, olive, cyan: Tableau's, the first of which most colour-blind eyes
/// tell apart.
pub(super) const COLORS: [&str; 10] = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22",
    "#17becf",
];
/// Text and axes.
pub(super) const INK: &str = "#333333";
/// Lines that should not draw the eye.
pub(super) const FAINT: &str = "#dddddd";
/// A line that others are compared with.
pub(super) const PALE: &str = "#b3c9dc";
/// What a character of text is wide, of its size: an average of sans-serif letters, on the wide side.
const CHARACTER: f64 = 0.58;

/// Where a text is with respect to its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG document that grows.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    fn put(&mut self, element: std::fmt::Arguments) {
        // Writing to a String does not fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    pub(super) fn rect(&mut self, [x, y, width, height]: [f64; 4], fill: &str) {
        self.put(format_args!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="{fill}"/>"#
        ));
    }

    /// A rectangle that tells `title` to a mouse above it.
    pub(super) fn titled_rect(&mut self, [x, y, width, height]: [f64; 4], fill: &str, title: &str) {
        let title = escape(title);
        self.put(format_args!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="{fill}"><title>{title}</title></rect>"#
        ));
    }

    pub(super) fn frame(&mut self, [x, y, width, height]: [f64; 4], color: &str) {
        self.put(format_args!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="none" stroke="{color}"/>"#
        ));
    }

    pub(super) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], color: &str, width: f64) {
        self.put(format_args!(
            r#"<line x1="{x1:.2}" y1="{y1:.2}" x2="{x2:.2}" y2="{y2:.2}" stroke="{color}" stroke-width="{width}"/>"#
        ));
    }

    pub(super) fn dashed(&mut self, [x1, y1, x2, y2]: [f64; 4], color: &str) {
        self.put(format_args!(
            r#"<line x1="{x1:.2}" y1="{y1:.2}" x2="{x2:.2}" y2="{y2:.2}" stroke="{color}" stroke-dasharray="5 4"/>"#
        ));
    }

    pub(super) fn polyline(&mut self, points: &[(f64, f64)], color: &str, width: f64) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
        let points = points.join(" ");
        self.put(format_args!(
            r#"<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>"#
        ));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), color: &str, title: &str) {
        let title = escape(title);
        self.put(format_args!(
            r#"<circle cx="{x:.2}" cy="{y:.2}" r="3" fill="{color}"><title>{title}</title></circle>"#
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: f64, color: &str, text: &str) {
        self.turned_text((x, y), 0.0, anchor, size, color, text);
    }

    pub(super) fn turned_text(
        &mut self,
        (x, y): (f64, f64),
        degrees: f64,
        anchor: Anchor,
        size: f64,
        color: &str,
        text: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = match degrees {
            0.0 => String::new(),
            _ => format!(r#" transform="rotate({degrees} {x:.2} {y:.2})""#),
        };
        let text = escape(text);
        self.put(format_args!(
            r#"<text x="{x:.2}" y="{y:.2}" text-anchor="{anchor}" font-size="{size}" fill="{color}"{turn}>{text}</text>"#
        ));
    }

    /// A raster picture; `pixelated` keeps its pixels square.
    pub(super) fn image(
        &mut self,
        [x, y, width, height]: [f64; 4],
        mime: &str,
        bytes: &[u8],
        pixelated: bool,
    ) {
        let data = BASE64_STANDARD.encode(bytes);
        let style = if pixelated { r#" style="image-rendering:pixelated""# } else { "" };
        self.put(format_args!(
            r#"<image x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" preserveAspectRatio="none"{style} href="data:{mime};base64,{data}"/>"#
        ));
    }

    pub(super) fn finish(self) -> String {
        let Svg { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
        )
    }
}

/// About how wide a text is, in pixels.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * CHARACTER
}

/// The text, cut with an ellipsis to about `room` pixels.
pub(super) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_string();
    }
    let keep = (room / (size * CHARACTER)).floor().max(2.0) as usize - 1;
    text.chars().take(keep).chain(['…']).collect()
}
