//! A map over a picture.

use super::Result;
use image::{imageops, RgbImage};
use tch::{no_grad, Kind, Tensor};

/// Pictures grow to at least this, by whole numbers, so that people can see them.
const LEAST_SIDE: u32 = 224;
/// How much of a pixel the map's colour is.
const OPACITY: f32 = 0.45;

/// The picture the network saw with the map [H', W'] over it, from blue (nothing speaks for the class) to red (most).
/// The map is stretched to its own range and interpolated bilinearly; small pictures are enlarged.
///
/// # Errors
/// libtorch's own, on a map of another rank.
pub fn overlay(picture: &RgbImage, map: &Tensor) -> Result<RgbImage> {
    let factor = (LEAST_SIDE / picture.width().max(picture.height()).max(1)).max(1);
    let (width, height) = (picture.width() * factor, picture.height() * factor);
    let heat = no_grad(|| stretched(map, width, height))?;
    let mut out = imageops::resize(picture, width, height, imageops::FilterType::Nearest);
    for (pixel, heat) in out.pixels_mut().zip(heat) {
        let color = heat_color(heat);
        for (value, color) in pixel.0.iter_mut().zip(color) {
            *value = (f32::from(*value) * (1.0 - OPACITY) + f32::from(color) * OPACITY).round() as u8;
        }
    }
    Ok(out)
}

/// 0 to 1, row by row; all 0 for a map that is the same everywhere.
fn stretched(map: &Tensor, width: u32, height: u32) -> Result<Vec<f32>> {
    let map = map.f_to_kind(Kind::Float)?;
    let (low, high) = (map.f_min()?.f_double_value(&[])?, map.f_max()?.f_double_value(&[])?);
    let range = if high > low { high - low } else { 1.0 };
    let map = map.f_sub_scalar(low)?.f_div_scalar(range)?;
    let size = [i64::from(height), i64::from(width)];
    let large = map.f_unsqueeze(0)?.f_unsqueeze(0)?.f_upsample_bilinear2d(size, false, None, None)?;
    Ok(Vec::try_from(large.f_reshape([-1])?)?)
}

/// A heat of 0 to 1 as dark blue, blue, cyan, yellow, red, with even steps between.
pub fn heat_color(heat: f32) -> [u8; 3] {
    const STOPS: [[f32; 3]; 5] =
        [[0.0, 0.0, 96.0], [0.0, 64.0, 255.0], [0.0, 224.0, 224.0], [255.0, 224.0, 0.0], [224.0, 0.0, 0.0]];
    let place = heat.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let stop = (place as usize).min(STOPS.len() - 2);
    let share = place - stop as f32;
    std::array::from_fn(|k| (STOPS[stop][k] + (STOPS[stop + 1][k] - STOPS[stop][k]) * share).round() as u8)
}
