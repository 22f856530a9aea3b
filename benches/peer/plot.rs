//! Lines in an SVG file.

use anyhow::{anyhow, Result};
use plotters::prelude::*;
use std::path::Path;

/// A named curve.
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// (x, y), x ascending.
    pub points: Vec<(f64, f64)>,
}

/// Curves over common axes that begin at 0.
pub struct Plot<'a> {
    /// Over the picture.
    pub title: &'a str,
    /// Under the horizontal axis.
    pub x_label: &'a str,
    /// Beside the vertical axis.
    pub y_label: &'a str,
    /// Drawn in this order.
    pub lines: &'a [Line],
}

/// Writes the plot as SVG.
pub fn write(path: &Path, plot: &Plot) -> Result<()> {
    draw(path, plot).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw(path: &Path, plot: &Plot) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let highest = |of: fn(&(f64, f64)) -> f64| {
        plot.lines.iter().flat_map(|line| &line.points).map(of).fold(0.0, f64::max)
    };
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..highest(|point| point.0) * 1.02, 0.0..highest(|point| point.1) * 1.05)?;
    chart.configure_mesh().x_desc(plot.x_label).y_desc(plot.y_label).light_line_style(WHITE).draw()?;
    for (index, line) in plot.lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 24, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Bars side by side in groups.
pub struct Bars<'a> {
    /// Over the picture.
    pub title: &'a str,
    /// Beside the vertical axis.
    pub y_label: &'a str,
    /// Under each group.
    pub groups: &'a [String],
    /// A name, and a height for each group (`None`: no bar).
    pub series: &'a [(String, Vec<Option<f64>>)],
}

/// Writes the bars as SVG.
pub fn write_bars(path: &Path, bars: &Bars) -> Result<()> {
    draw_bars(path, bars).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw_bars(path: &Path, bars: &Bars) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let highest = bars.series.iter().flat_map(|(_, heights)| heights).flatten().copied().fold(0.0, f64::max);
    let (groups, width) = (bars.groups.len(), 0.84 / bars.series.len().max(1) as f64);
    let area = SVGBackend::new(path, (1200, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(bars.title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(72)
        // The legend stands above the bars.
        .build_cartesian_2d(0.0..groups as f64, 0.0..highest * 1.5)?;
    // A label for every half: the odd ones are the groups' middles.
    let name = |x: &f64| match (x.fract() - 0.5).abs() < 1e-6 {
        true => bars.groups.get(*x as usize).cloned().unwrap_or_default(),
        false => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * groups + 1)
        .x_label_formatter(&name)
        .y_desc(bars.y_label)
        .light_line_style(WHITE)
        .draw()?;
    for (index, (name, heights)) in bars.series.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let left = |group: usize| group as f64 + 0.08 + index as f64 * width;
        let bars = heights.iter().enumerate().filter_map(|(group, height)| Some((left(group), (*height)?)));
        chart
            .draw_series(bars.map(|(x, y)| Rectangle::new([(x, 0.0), (x + width, y)], color.filled())))?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
