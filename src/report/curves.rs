//! Lines over common axes.

use super::svg::{width, Anchor, Svg, COLORS, FAINT, INK, PALE};

/// A named curve.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// (x, y), x ascending. Points that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
    /// Drawn thin and pale, for what is only there to be compared with.
    pub faint: bool,
}

impl Line {
    /// A curve that is drawn in full.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Line { name: name.into(), points, faint: false }
    }
}

/// Curves and what the axes mean.
#[derive(Debug, Clone)]
pub struct Chart<'a> {
    /// Over the picture.
    pub title: &'a str,
    /// Under the horizontal axis.
    pub x_label: &'a str,
    /// Beside the vertical axis.
    pub y_label: &'a str,
    /// Whether both axes begin at 0; else they hold the points and little more.
    pub from_zero: bool,
    /// Drawn in this order.
    pub lines: &'a [Line],
}

const WIDTH: f64 = 560.0;
/// Of the part with the curves.
const PLOT: f64 = 250.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 18.0;
/// Above the legend, and a row of it.
const HEAD: f64 = 32.0;
const ROW: f64 = 15.0;
const BOTTOM: f64 = 48.0;

/// Draws the curves as an SVG document.
pub fn line_chart(chart: &Chart) -> String {
    let (names, rows) = legend(chart.lines);
    let top = HEAD + ROW * rows as f64 + 15.0;
    let (right, bottom) = (WIDTH - RIGHT, top + PLOT);
    let height = bottom + BOTTOM;
    let mut svg = Svg::new(WIDTH, height);
    let points = || {
        let all = chart.lines.iter().flat_map(|line| line.points.iter().copied());
        all.filter(|(x, y)| x.is_finite() && y.is_finite())
    };
    let x = Axis::of(points().map(|point| point.0), chart.from_zero, false);
    let y = Axis::of(points().map(|point| point.1), chart.from_zero, true);
    let to_x = |value: f64| LEFT + x.share(value) * (right - LEFT);
    let to_y = |value: f64| bottom - y.share(value) * (bottom - top);
    svg.text((WIDTH / 2.0, 22.0), Anchor::Middle, 16.0, INK, chart.title);
    for tick in y.ticks() {
        svg.line([LEFT, to_y(tick), right, to_y(tick)], FAINT, 1.0);
        svg.text((LEFT - 8.0, to_y(tick) + 4.0), Anchor::End, 12.0, INK, &y.label(tick));
    }
    for tick in x.ticks() {
        svg.line([to_x(tick), bottom, to_x(tick), bottom + 5.0], INK, 1.0);
        svg.text((to_x(tick), bottom + 19.0), Anchor::Middle, 12.0, INK, &x.label(tick));
    }
    svg.line([LEFT, bottom, right, bottom], INK, 1.0);
    svg.line([LEFT, top, LEFT, bottom], INK, 1.0);
    svg.text(((LEFT + right) / 2.0, height - 10.0), Anchor::Middle, 13.0, INK, chart.x_label);
    svg.turned_text((18.0, (top + bottom) / 2.0), -90.0, Anchor::Middle, 13.0, INK, chart.y_label);
    // What is only compared with lies under the rest.
    let mut order: Vec<usize> = (0..chart.lines.len()).collect();
    order.sort_by_key(|&index| !chart.lines[index].faint);
    for index in order {
        let line = &chart.lines[index];
        let color = color(index, line);
        let places: Vec<(f64, f64)> = line
            .points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|&(x, y)| (to_x(x), to_y(y)))
            .collect();
        svg.polyline(&places, color, if line.faint { 1.0 } else { 2.0 });
        // Of many points the line alone is clearer.
        if places.len() <= 60 {
            for (place, (x, y)) in places.iter().zip(&line.points) {
                svg.dot(*place, color, &format!("{}: {x} → {y:.5}", line.name));
            }
        }
    }
    for (index, (line, (x, y))) in chart.lines.iter().zip(names).enumerate() {
        svg.line([x, y - 4.0, x + 18.0, y - 4.0], color(index, line), 3.0);
        svg.text((x + 24.0, y), Anchor::Start, LEGEND, INK, &line.name);
    }
    svg.finish()
}

fn color(index: usize, line: &Line) -> &'static str {
    if line.faint {
        return PALE;
    }
    COLORS[index % COLORS.len()]
}

/// The legend's letters.
const LEGEND: f64 = 12.0;

/// Where the names go, in rows under the title, and how many rows that makes.
fn legend(lines: &[Line]) -> (Vec<(f64, f64)>, usize) {
    let (mut x, mut row) = (LEFT, 0);
    let mut places = Vec::with_capacity(lines.len());
    for line in lines {
        let needed = 24.0 + width(&line.name, LEGEND) + 14.0;
        if x > LEFT && x + needed > WIDTH {
            (x, row) = (LEFT, row + 1);
        }
        places.push((x, HEAD + ROW * f64::from(row) + 10.0));
        x += needed;
    }
    (places, row as usize + 1)
}

/// A range of values with round numbers in it.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from_zero: bool, margin: bool) -> Axis {
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if from_zero {
            low = low.min(0.0);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if low == high {
            let half = if low == 0.0 { 0.5 } else { low.abs() / 2.0 };
            (low, high) = (low - half, high + half);
        }
        if margin {
            let room = (high - low) * 0.05;
            low -= if from_zero && low == 0.0 { 0.0 } else { room };
            high += room;
        }
        // 1, 2 or 5 times a power of ten: three to nine ticks.
        let rough = (high - low) / 8.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= rough).unwrap_or(10.0) * power;
        Axis { low, high, step }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let first = (self.low / self.step).ceil() as i64;
        let last = (self.high / self.step).floor() as i64;
        (first..=last).take(20).map(|tick| tick as f64 * self.step)
    }

    fn label(&self, tick: f64) -> String {
        if tick == 0.0 {
            return "0".to_string();
        }
        if !(1e-4..1e6).contains(&self.step) {
            return format!("{tick:.1e}");
        }
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{tick:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        for (low, high) in [(0.0, 1.0), (0.31, 0.42), (3.0, 3.0), (0.0, 0.0), (1e-7, 3e-6), (-5.0, 12000.0)] {
            let axis = Axis::of([low, high].into_iter(), false, true);
            let ticks: Vec<f64> = axis.ticks().collect();
            assert!((3..=13).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&axis.share(*tick))));
            let labels: std::collections::BTreeSet<String> =
                ticks.iter().map(|tick| axis.label(*tick)).collect();
            assert_eq!(labels.len(), ticks.len(), "{labels:?}");
        }
    }

    #[test]
    fn points_that_are_no_numbers_are_left_out() {
        let lines = [Line::new("loss", vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, f64::INFINITY)])];
        let chart = Chart { title: "", x_label: "", y_label: "", from_zero: false, lines: &lines };
        let svg = line_chart(&chart);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let nothing = line_chart(&Chart { lines: &[], ..chart });
        assert!(!nothing.contains("NaN"), "{nothing}");
    }
}
