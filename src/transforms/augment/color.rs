//! Brightness, contrast, saturation, sharpness and hue as Pillow changes them (`ImageEnhance`, `convert("HSV")`), to the
//! bit.

use super::super::to_gray;
use image::RgbImage;

/// From black (0) over the picture as it is (1) to brighter. torchvision: `adjust_brightness`.
pub fn brightness(picture: RgbImage, factor: f64) -> RgbImage {
    blend_with_level(picture, 0, factor)
}

/// From the gray of its mean (0) over the picture as it is (1) to more contrast. torchvision: `adjust_contrast`.
pub fn contrast(picture: RgbImage, factor: f64) -> RgbImage {
    let gray = to_gray(&picture);
    let sum: u64 = gray.as_raw().iter().map(|level| u64::from(*level)).sum();
    let count = gray.as_raw().len().max(1);
    let mean = (sum as f64 / count as f64 + 0.5) as u8;
    blend_with_level(picture, mean, factor)
}

/// From gray (0) over the picture as it is (1) to stronger colours. torchvision: `adjust_saturation`.
pub fn saturation(mut picture: RgbImage, factor: f64) -> RgbImage {
    let gray = to_gray(&picture);
    let mix = Blend::new(factor);
    for (pixel, gray) in picture.pixels_mut().zip(gray.as_raw()) {
        pixel.0 = pixel.0.map(|value| mix.of(*gray, value));
    }
    picture
}

/// From blurred (0) over the picture as it is (1) to sharper. torchvision: `adjust_sharpness`.
pub fn sharpness(picture: &RgbImage, factor: f64) -> RgbImage {
    let mix = Blend::new(factor);
    let mut out = smooth(picture);
    for (blurred, value) in out.iter_mut().zip(picture.as_raw()) {
        *blurred = mix.of(*blurred, *value);
    }
    out
}

/// Turns every hue by `turn` of the circle, −0.5 to 0.5. torchvision: `adjust_hue`.
pub fn hue(mut picture: RgbImage, turn: f64) -> RgbImage {
    // torchvision adds whole levels of 255 and lets them wrap.
    let shift = (turn * 255.0) as i32 as u8;
    for pixel in picture.pixels_mut() {
        let [h, s, v] = to_hsv(pixel.0);
        pixel.0 = from_hsv([h.wrapping_add(shift), s, v]);
    }
    picture
}

/// Pillow's `Image.blend` of two samples, in f32 as it is there.
struct Blend {
    alpha: f32,
}

impl Blend {
    fn new(factor: f64) -> Self {
        Blend { alpha: factor as f32 }
    }

    fn of(&self, first: u8, second: u8) -> u8 {
        if self.alpha == 0.0 {
            return first;
        }
        if self.alpha == 1.0 {
            return second;
        }
        // `as` cuts off and saturates: between the two, and past them, that is what Pillow does.
        (f32::from(first) + self.alpha * f32::from(i16::from(second) - i16::from(first))) as u8
    }
}

fn blend_with_level(mut picture: RgbImage, level: u8, factor: f64) -> RgbImage {
    let mix = Blend::new(factor);
    let table: [u8; 256] = std::array::from_fn(|value| mix.of(level, value as u8));
    picture.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    picture
}

/// Pillow's `ImageFilter.SMOOTH`: a 3×3 mean in which the middle counts five times. The outermost pixels stay.
fn smooth(picture: &RgbImage) -> RgbImage {
    const EDGE: f32 = 1.0 / 13.0;
    const MIDDLE: f32 = 5.0 / 13.0;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut out = picture.clone();
    if width < 3 || height < 3 {
        return out;
    }
    let from = picture.as_raw();
    let stride = width * 3;
    for y in 1..height - 1 {
        for x in 3..stride - 3 {
            let at = y * stride + x;
            // Pillow's order of additions, from the row below up: each is rounded.
            let row = |at: usize, middle: f32| {
                f32::from(from[at - 3]) * EDGE + f32::from(from[at]) * middle + f32::from(from[at + 3]) * EDGE
            };
            let sum = 0.5 + row(at + stride, EDGE) + row(at, MIDDLE) + row(at - stride, EDGE);
            out.as_mut()[at] = sum as u8;
        }
    }
    out
}

/// Pillow's RGB to HSV: Python's `colorsys` in f32 and f64 as C promotes them, cut to 8 bits.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|value| f32::from(most - value) / range);
    let hue = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Pillow's HSV to RGB.
fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = sixths.floor();
    let f = (sixths - sector) as f32;
    let fs = (f64::from(s) / 255.0) as f32;
    let level = |share: f64| (f64::from(v) * share).round() as u8;
    let p = level(1.0 - f64::from(fs));
    let q = level(1.0 - f64::from(fs * f));
    let t = level(1.0 - f64::from(fs) * (1.0 - f64::from(f)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
