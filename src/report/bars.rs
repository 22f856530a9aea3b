//! Bars side by side in groups.

use super::curves::{legend, Axis, HEAD, LEGEND, ROW};
use super::svg::{Anchor, Svg, COLORS, FAINT, INK};

/// Bars and what they mean.
#[derive(Debug, Clone)]
pub struct Bars<'a> {
    /// Over the picture.
    pub title: &'a str,
    /// Beside the vertical axis, which begins at 0.
    pub y_label: &'a str,
    /// Under each group.
    pub groups: &'a [String],
    /// A name, and a height for each group (`None`: no bar).
    pub series: &'a [(String, Vec<Option<f64>>)],
}

const WIDTH: f64 = 1000.0;
/// Of the part with the bars.
const PLOT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 18.0;
const BOTTOM: f64 = 36.0;
/// Of a group's room, what its bars take.
const FILLED: f64 = 0.84;

/// Draws the bars as an SVG document.
pub fn bar_chart(bars: &Bars) -> String {
    let names: Vec<&str> = bars.series.iter().map(|(name, _)| name.as_str()).collect();
    let (places, rows) = legend(&names, WIDTH);
    let top = HEAD + ROW * rows as f64 + 15.0;
    let (right, bottom) = (WIDTH - RIGHT, top + PLOT);
    let mut svg = Svg::new(WIDTH, bottom + BOTTOM);
    let heights = bars.series.iter().flat_map(|(_, heights)| heights.iter().copied().flatten());
    let y = Axis::of(heights.filter(|height| height.is_finite()), true, true);
    let to_y = |value: f64| bottom - y.share(value) * (bottom - top);
    svg.text((WIDTH / 2.0, 22.0), Anchor::Middle, 16.0, INK, bars.title);
    for tick in y.ticks() {
        svg.line([LEFT, to_y(tick), right, to_y(tick)], FAINT, 1.0);
        svg.text((LEFT - 8.0, to_y(tick) + 4.0), Anchor::End, 12.0, INK, &y.label(tick));
    }
    let room = (right - LEFT) / bars.groups.len().max(1) as f64;
    let width = room * FILLED / bars.series.len().max(1) as f64;
    for (group, name) in bars.groups.iter().enumerate() {
        let left = LEFT + room * group as f64;
        svg.text((left + room / 2.0, bottom + 19.0), Anchor::Middle, 12.0, INK, name);
        for (index, (series, heights)) in bars.series.iter().enumerate() {
            let Some(height) = heights.get(group).copied().flatten().filter(|height| height.is_finite())
            else {
                continue;
            };
            let x = left + room * (1.0 - FILLED) / 2.0 + width * index as f64;
            let title = format!("{series}, {name}: {height:.2}");
            let color = COLORS[index % COLORS.len()];
            svg.titled_rect([x, to_y(height), width, bottom - to_y(height)], color, &title);
        }
    }
    svg.line([LEFT, bottom, right, bottom], INK, 1.0);
    svg.line([LEFT, top, LEFT, bottom], INK, 1.0);
    svg.turned_text((18.0, (top + bottom) / 2.0), -90.0, Anchor::Middle, 13.0, INK, bars.y_label);
    for (index, (name, (x, y))) in names.iter().zip(places).enumerate() {
        svg.rect([x, y - 9.0, 14.0, 10.0], COLORS[index % COLORS.len()]);
        svg.text((x + 24.0, y), Anchor::Start, LEGEND, INK, name);
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_height_has_a_bar_in_proportion_and_what_is_missing_has_none() {
        let groups = ["a".to_string(), "b".to_string()];
        let series = [
            ("x < y".to_string(), vec![Some(10.0), Some(20.0)]),
            ("z".to_string(), vec![None, Some(f64::NAN)]),
        ];
        let svg = bar_chart(&Bars { title: "t", y_label: "y", groups: &groups, series: &series });
        let heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("<title>"))
            .map(|line| line.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(heights.len(), 2, "{svg}");
        assert!((heights[1] / heights[0] - 2.0).abs() < 1e-3, "{heights:?}");
        assert!(svg.contains("x &lt; y") && !svg.contains("NaN"), "{svg}");
    }
}
