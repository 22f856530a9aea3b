//! How far probabilities can be believed, as a picture.

use super::percent;
use super::svg::{Anchor, Svg, FAINT, INK};
use crate::evaluate::Calibration;

const BAR: &str = "#1f77b4";
const TOO_SURE: &str = "#e98a8b";
const TOO_MODEST: &str = "#a6cee3";

const WIDTH: f64 = 480.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 462.0;
/// The upper panel, and the lower one that counts.
const TOP: f64 = 62.0;
const BOTTOM: f64 = 400.0;
const COUNTS_TOP: f64 = 418.0;
const COUNTS_BOTTOM: f64 = 488.0;
const HEIGHT: f64 = 536.0;

/// A reliability diagram as an SVG document: accuracy over confidence, the gap to what was promised, and how many
/// predictions there are of each confidence.
pub fn reliability_diagram(calibration: &Calibration) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT);
    let to_x = |share: f64| LEFT + share * (RIGHT - LEFT);
    let to_y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
    svg.text((WIDTH / 2.0, 22.0), Anchor::Middle, 16.0, INK, "Reliability");
    let note = format!("expected calibration error {}", percent(calibration.ece));
    svg.text((WIDTH / 2.0, 42.0), Anchor::Middle, 12.0, INK, &note);
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        svg.line([LEFT, to_y(share), RIGHT, to_y(share)], FAINT, 1.0);
        svg.text((LEFT - 8.0, to_y(share) + 4.0), Anchor::End, 12.0, INK, &format!("{share:.1}"));
        svg.text((to_x(share), COUNTS_BOTTOM + 18.0), Anchor::Middle, 12.0, INK, &format!("{share:.1}"));
    }
    let most = calibration.bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    for bin in &calibration.bins {
        let (left, width) = (to_x(bin.low) + 1.0, (bin.high - bin.low) * (RIGHT - LEFT) - 2.0);
        let height = bin.count as f64 / most as f64 * (COUNTS_BOTTOM - COUNTS_TOP);
        let title = format!("{} predictions at {:.2} to {:.2}", bin.count, bin.low, bin.high);
        svg.titled_rect([left, COUNTS_BOTTOM - height, width, height], "#999999", &title);
        let (Some(confidence), Some(accuracy)) = (bin.confidence, bin.accuracy) else { continue };
        let title = format!("{title}: {confidence:.3} promised, {accuracy:.3} right");
        let (upper, lower) = (to_y(accuracy.max(confidence)), to_y(accuracy.min(confidence)));
        svg.titled_rect([left, lower, width, BOTTOM - lower], BAR, &title);
        let gap = if confidence > accuracy { TOO_SURE } else { TOO_MODEST };
        svg.titled_rect([left, upper, width, lower - upper], gap, &title);
    }
    svg.dashed([to_x(0.0), to_y(0.0), to_x(1.0), to_y(1.0)], INK);
    svg.frame([LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP], INK);
    svg.line([LEFT, COUNTS_BOTTOM, RIGHT, COUNTS_BOTTOM], INK, 1.0);
    svg.text((LEFT - 8.0, COUNTS_TOP + 8.0), Anchor::End, 11.0, INK, &most.to_string());
    svg.text(((LEFT + RIGHT) / 2.0, HEIGHT - 10.0), Anchor::Middle, 13.0, INK, "probability promised");
    svg.turned_text((18.0, (TOP + BOTTOM) / 2.0), -90.0, Anchor::Middle, 13.0, INK, "share that is right");
    let legend = [(BAR, "right"), (TOO_SURE, "promised, not right"), (TOO_MODEST, "right, not promised")];
    for (index, (color, name)) in legend.into_iter().enumerate() {
        let y = TOP + 12.0 + 18.0 * index as f64;
        svg.rect([LEFT + 10.0, y, 12.0, 12.0], color);
        svg.text((LEFT + 28.0, y + 10.0), Anchor::Start, 12.0, INK, name);
    }
    svg.finish()
}
