//! Changes of each sample alone, by a table of 256 levels, as Pillow's `ImageOps` makes them, to the bit.

use image::RgbImage;

/// Keeps the highest `bits` (1 to 8) of each sample. torchvision: `posterize`.
pub fn posterize(picture: RgbImage, bits: u8) -> RgbImage {
    let mask = (0xff00u16 >> bits.clamp(1, 8)) as u8;
    mapped(picture, |value| value & mask)
}

/// Inverts samples of `threshold` and above. torchvision: `solarize`.
pub fn solarize(picture: RgbImage, threshold: f64) -> RgbImage {
    mapped(picture, |value| if f64::from(value) < threshold { value } else { 255 - value })
}

/// Stretches each channel to 0–255. torchvision: `autocontrast`.
pub fn autocontrast(picture: RgbImage) -> RgbImage {
    by_channel(picture, |histogram| {
        let lowest = histogram.iter().position(|count| *count > 0).unwrap_or(0);
        let highest = histogram.iter().rposition(|count| *count > 0).unwrap_or(0);
        if highest <= lowest {
            return identity();
        }
        let scale = 255.0 / (highest - lowest) as f64;
        let offset = -(lowest as f64) * scale;
        // `as` cuts towards zero and saturates, as Pillow's int() and clipping do.
        std::array::from_fn(|value| (value as f64 * scale + offset) as u8)
    })
}

/// Gives each channel's levels an even distribution. torchvision: `equalize`.
pub fn equalize(picture: RgbImage) -> RgbImage {
    by_channel(picture, |histogram| {
        let last = histogram.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (histogram.iter().sum::<u64>() - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut below = step / 2;
        std::array::from_fn(|value| {
            let level = below / step;
            below += histogram[value];
            level.min(255) as u8
        })
    })
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|value| value as u8)
}

fn mapped(mut picture: RgbImage, map: impl Fn(u8) -> u8) -> RgbImage {
    picture.iter_mut().for_each(|value| *value = map(*value));
    picture
}

/// A table for each channel, made from its histogram.
fn by_channel(mut picture: RgbImage, table: impl Fn(&[u64; 256]) -> [u8; 256]) -> RgbImage {
    let mut histograms = [[0u64; 256]; 3];
    for pixel in picture.pixels() {
        for (histogram, value) in histograms.iter_mut().zip(pixel.0) {
            histogram[usize::from(value)] += 1;
        }
    }
    let tables = histograms.each_ref().map(table);
    for pixel in picture.pixels_mut() {
        for (value, table) in pixel.0.iter_mut().zip(&tables) {
            *value = table[usize::from(*value)];
        }
    }
    picture
}
