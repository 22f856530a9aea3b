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
    median(&ratios(figures, reference))
}

/// The ratio within each round.
pub fn ratios(figures: &[f64], reference: &[f64]) -> Vec<f64> {
    figures.iter().zip(reference).map(|(figure, reference)| figure / reference).collect()
}

/// Where the median of such figures lies with 95 % confidence, whatever their distribution (the sign test's interval, from
/// two of the figures themselves); of fewer than six, the smallest and the largest (94 % for five).
pub fn interval(figures: &[f64]) -> (f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 {
        return (f64::NAN, f64::NAN);
    }
    // The chance that `outside` or fewer of n figures lie below the median, at both ends: 2·Σ C(n, i)/2ⁿ.
    let (mut outside, mut term, mut chance) = (0, 2.0 * 0.5f64.powi(n as i32), 0.0);
    while outside < n / 2 && chance + term <= 0.05 {
        chance += term;
        outside += 1;
        term *= (n + 1 - outside) as f64 / outside as f64;
    }
    let cut = outside.saturating_sub(1);
    (sorted[cut], sorted[n - 1 - cut])
}
