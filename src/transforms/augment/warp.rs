//! Shearing, shifting and turning, nearest neighbour, black outside: Pillow's `Image.transform` and `Image.rotate` with the
//! matrices of torchvision's `affine`, to the bit.

use image::RgbImage;

/// x' = a·x + b·y + c, y' = d·x + e·y + f: from a place in the result to one in the picture.
pub type Matrix = [f64; 6];

/// Slants rows: `slope` columns a row, around the upper left corner. torchvision: `ShearX` of its policies.
pub fn shear_x(picture: &RgbImage, slope: f64) -> RgbImage {
    transform(picture, inverse(&(0.0, 0.0), (0.0, 0.0), (through_degrees(slope), 0.0)))
}

/// Slants columns: `slope` rows a column, around the upper left corner. torchvision: `ShearY` of its policies.
pub fn shear_y(picture: &RgbImage, slope: f64) -> RgbImage {
    transform(picture, inverse(&(0.0, 0.0), (0.0, 0.0), (0.0, through_degrees(slope))))
}

/// Moves by whole pixels, right and down. torchvision: `affine` with `translate`.
pub fn translate(picture: &RgbImage, right: i32, down: i32) -> RgbImage {
    let middle = (f64::from(picture.width()) * 0.5, f64::from(picture.height()) * 0.5);
    transform(picture, inverse(&middle, (f64::from(right), f64::from(down)), (0.0, 0.0)))
}

/// Turns counterclockwise around the middle, by degrees. torchvision: `rotate`.
pub fn rotate(picture: &RgbImage, degrees: f64) -> RgbImage {
    let degrees = degrees.rem_euclid(360.0);
    let square = picture.width() == picture.height();
    // Pillow moves pixels where it can.
    if degrees == 0.0 {
        return picture.clone();
    } else if degrees == 180.0 {
        return image::imageops::rotate180(picture);
    } else if degrees == 90.0 && square {
        return image::imageops::rotate270(picture);
    } else if degrees == 270.0 && square {
        return image::imageops::rotate90(picture);
    }
    let angle = -degrees.to_radians();
    let (a, b) = (to_15_decimals(angle.cos()), to_15_decimals(angle.sin()));
    let (d, e) = (to_15_decimals(-angle.sin()), a);
    let (x, y) = (f64::from(picture.width()) / 2.0, f64::from(picture.height()) / 2.0);
    let c = a * -x + b * -y + 0.0 + x;
    let f = d * -x + e * -y + 0.0 + y;
    transform(picture, [a, b, c, d, e, f])
}

/// Python's `round(value, 15)`: the nearest decimal, ties by the exact value.
fn to_15_decimals(value: f64) -> f64 {
    format!("{value:.15}").parse().unwrap_or(value)
}

/// A slope as the angle in radians that torchvision computes from the degrees it is given.
fn through_degrees(slope: f64) -> f64 {
    slope.atan().to_degrees().to_radians()
}

/// torchvision's `_get_inverse_affine_matrix` without turning or scaling, operation by operation.
fn inverse(center: &(f64, f64), shift: (f64, f64), (sx, sy): (f64, f64)) -> Matrix {
    let (cx, cy) = center;
    let a = (0.0 - sy).cos() / sy.cos();
    let b = -(0.0 - sy).cos() * sx.tan() / sy.cos() - 0.0;
    let c = (0.0 - sy).sin() / sy.cos();
    let d = -(0.0 - sy).sin() * sx.tan() / sy.cos() + 1.0;
    let mut matrix = [d, -b, 0.0, -c, a, 0.0];
    matrix[2] += matrix[0] * (-cx - shift.0) + matrix[1] * (-cy - shift.1);
    matrix[5] += matrix[3] * (-cx - shift.0) + matrix[4] * (-cy - shift.1);
    matrix[2] += cx;
    matrix[5] += cy;
    matrix
}

/// Pillow's `transform(size, AFFINE, matrix, NEAREST)`, which has three ways: without slant by rows and columns, else in
/// 16.16 fixed point, else (pictures with a side of 32768 or more) in f64.
pub fn transform(picture: &RgbImage, matrix: Matrix) -> RgbImage {
    let [a, b, c, d, e, f] = matrix;
    if b == 0.0 && d == 0.0 {
        return scale(picture, matrix);
    }
    let (width, height) = picture.dimensions();
    let fits = |x: u32, y: u32| {
        let (x, y) = (f64::from(x), f64::from(y));
        (x * a + y * b + c).abs() < 32768.0 && (x * d + y * e + f).abs() < 32768.0
    };
    if fits(0, 0) && fits(width, height) && fits(0, height) && fits(width, 0) {
        fixed_point(picture, matrix)
    } else {
        floating_point(picture, matrix)
    }
}

/// A place along an axis as a sample; `None` outside.
fn place(position: f64, size: u32) -> Option<u32> {
    (position >= 0.0 && position < f64::from(size)).then_some(position as u32)
}

fn scale(picture: &RgbImage, [a, _, c, _, e, f]: Matrix) -> RgbImage {
    let (width, height) = picture.dimensions();
    // Running sums: their roundings are part of Pillow's answer.
    let places = |first: f64, step: f64, size: u32| {
        let positions = std::iter::successors(Some(first), move |position| Some(position + step));
        positions.take(size as usize).map(move |position| place(position, size)).collect::<Vec<_>>()
    };
    let columns = places(c + a * 0.5, a, width);
    let mut out = RgbImage::new(width, height);
    for (y, row) in places(f + e * 0.5, e, height).into_iter().enumerate() {
        let Some(row) = row else { continue };
        for (x, column) in columns.iter().enumerate() {
            if let Some(column) = column {
                out.put_pixel(x as u32, y as u32, *picture.get_pixel(*column, row));
            }
        }
    }
    out
}

fn fixed_point(picture: &RgbImage, [a, b, c, d, e, f]: Matrix) -> RgbImage {
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i32;
    let steps = (fixed(a), fixed(d));
    let rows = (fixed(b), fixed(e));
    let mut start = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    let (width, height) = picture.dimensions();
    let inside = |position: i32, size: u32| u32::try_from(position >> 16).ok().filter(|place| *place < size);
    let mut out = RgbImage::new(width, height);
    for y in 0..height {
        let mut at = start;
        for x in 0..width {
            if let (Some(column), Some(row)) = (inside(at.0, width), inside(at.1, height)) {
                out.put_pixel(x, y, *picture.get_pixel(column, row));
            }
            at = (at.0.wrapping_add(steps.0), at.1.wrapping_add(steps.1));
        }
        start = (start.0.wrapping_add(rows.0), start.1.wrapping_add(rows.1));
    }
    out
}

fn floating_point(picture: &RgbImage, [a, b, c, d, e, f]: Matrix) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut start = (c + b * 0.5 + a * 0.5, f + e * 0.5 + d * 0.5);
    let mut out = RgbImage::new(width, height);
    for y in 0..height {
        let mut at = start;
        for x in 0..width {
            if let (Some(column), Some(row)) = (place(at.0, width), place(at.1, height)) {
                out.put_pixel(x, y, *picture.get_pixel(column, row));
            }
            at = (at.0 + a, at.1 + d);
        }
        start = (start.0 + b, start.1 + e);
    }
    out
}
