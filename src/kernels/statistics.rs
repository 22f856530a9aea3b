//! A batch norm's statistics: as kernels find them, and as kernels apply them.

use super::rows::check_vector;

/// Mean and biased variance of each channel over all rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// Σ x / M; one number a channel. NaN where there are no rows.
    pub mean: Vec<f64>,
    /// Σ (x − mean)² / M; one number a channel.
    pub var: Vec<f64>,
}

impl Moments {
    /// Makes room for so many channels.
    pub(super) fn resize(&mut self, channels: usize) {
        self.mean.resize(channels, 0.0);
        self.var.resize(channels, 0.0);
    }

    /// One channel's. A variance that rounding made negative is 0.
    pub(super) fn set(&mut self, channel: usize, mean: f64, var: f64) {
        self.mean[channel] = mean;
        // Not max(0): a NaN must stay one.
        self.var[channel] = if var < 0.0 { 0.0 } else { var };
    }
}

/// A batch norm with its statistics put in: x·scale + shift, channel by channel. Both padded, with zeros.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// γ / √(var + ε).
    pub scale: &'a [f32],
    /// β − mean·scale.
    pub shift: &'a [f32],
}

/// The same for its backward. All padded, with zeros.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// The norm.
    pub affine: Affine<'a>,
    /// The means that x̂ = (x − mean)·invstd is made with.
    pub mean: &'a [f32],
    /// 1 / √(var + ε).
    pub invstd: &'a [f32],
}

impl Norm<'_> {
    /// Panics unless all have so many channels and their padding.
    pub(super) fn check(&self, channels: usize) {
        self.affine.check(channels);
        check_vector("mean", self.mean, channels);
        check_vector("invstd", self.invstd, channels);
    }
}

impl Affine<'_> {
    /// Panics unless both have so many channels and their padding.
    pub(super) fn check(&self, channels: usize) {
        check_vector("scale", self.scale, channels);
        check_vector("shift", self.shift, channels);
    }
}
