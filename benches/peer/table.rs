//! Figures of several participants: minimum, median, and ratios to one of them, as a table or as JSON lines.

use serde_json::{Map, Value};

/// One participant's measurements, round by round, in the table's unit.
pub struct Row {
    /// What it is.
    pub name: String,
    /// One figure a round.
    pub figures: Vec<f64>,
    /// What else there is to say of it: a column of text, and fields for JSON.
    pub note: String,
    /// The same for machines.
    pub fields: Map<String, Value>,
}

/// Prints the rows. `reference` is the row that ratios refer to: the median of the ratios within each round, so that a
/// machine that slows down for a while slows both. `fields` begin every JSON line.
pub fn print(rows: &[Row], reference: usize, unit: &str, fields: &Map<String, Value>, json: bool) {
    let reference = &rows[reference];
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    if !json {
        println!("{:width$}  {:>10}  {:>10}  ratio to {}", "", "min", "median", reference.name);
    }
    for row in rows {
        let (min, median) = (minimum(&row.figures), median(&row.figures));
        let ratio = ratio(&row.figures, &reference.figures);
        if json {
            let mut line = fields.clone();
            line.insert("participant".into(), row.name.as_str().into());
            line.insert("unit".into(), unit.into());
            line.insert("min".into(), min.into());
            line.insert("median".into(), median.into());
            line.insert("ratio".into(), ratio.into());
            line.insert("ratio_to".into(), reference.name.as_str().into());
            line.insert("rounds".into(), row.figures.clone().into());
            line.extend(row.fields.clone());
            println!("{}", Value::Object(line));
        } else {
            let line =
                format!("{:width$}  {min:>10.2}  {median:>10.2}  {ratio:>5.2}  {}", row.name, row.note);
            println!("{}", line.trim_end());
        }
    }
}

/// The smallest.
pub fn minimum(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The middle one, or the mean of the middle two; NaN of none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The median of the ratios within each round.
pub fn ratio(figures: &[f64], reference: &[f64]) -> f64 {
    median(&figures.iter().zip(reference).map(|(figure, reference)| figure / reference).collect::<Vec<_>>())
}
