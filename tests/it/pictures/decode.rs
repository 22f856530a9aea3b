//! Decoded pixels against Pillow's, format by format.

use super::*;

fn assert_decodes_as_pil(names: &[String]) {
    let want = pil_decode(names);
    let mut failures = Vec::new();
    for name in names {
        match open(PICTURES.path(name)) {
            Ok(picture) if rgb_tensor(&picture).size() != want[name].size() => {
                failures.push(format!("{name}: {:?}, not {:?}", rgb_tensor(&picture), want[name]));
            }
            Ok(picture) => {
                let (share, mean, max) = difference(&rgb_tensor(&picture), &want[name]);
                if max != 0.0 {
                    failures.push(format!("{name}: share {share:.4}, mean {mean:.4}, max {max}"));
                }
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    assert!(failures.is_empty(), "differ from Pillow:\n{}", failures.join("\n"));
}

#[test]
fn png_of_every_kind_of_pixel_decodes_to_pils_bits() {
    assert_decodes_as_pil(PICTURES.group("png"));
}

#[test]
fn bmp_gif_pnm_and_tiff_decode_to_pils_bits() {
    assert_decodes_as_pil(PICTURES.group("lossless"));
}

#[test]
fn webp_decodes_to_pils_bits_lossy_too() {
    assert_decodes_as_pil(PICTURES.group("webp"));
}

/// Baseline and progressive, every subsampling, gray, CMYK, YCCK, RGB inside, odd sizes.
#[cfg(feature = "libjpeg-turbo")]
#[test]
fn with_libjpeg_turbo_every_jpeg_decodes_to_pils_bits() {
    assert!(PICTURES.group("jpeg").len() >= 20);
    assert_decodes_as_pil(PICTURES.group("jpeg"));
}

/// Mean absolute difference allowed between two decoders of a JPEG file, in levels.
const JPEG_MEAN: f64 = 2.0;

#[test]
fn jpeg_decodes_within_two_levels_of_pil_on_average() {
    let names = PICTURES.group("jpeg");
    let want = pil_decode(names);
    for name in names {
        let picture = open(PICTURES.path(name)).unwrap();
        let (share, mean, max) = difference(&rgb_tensor(&picture), &want[name]);
        println!("{name}: share of differing values {share:.4}, mean {mean:.4}, largest {max}");
        assert!(mean <= JPEG_MEAN, "{name}: mean {mean}, largest {max}");
    }
}

#[test]
fn what_only_rounds_otherwise_is_within_one_level_of_pil() {
    let names = PICTURES.group("rounded");
    let want = pil_decode(names);
    for name in names {
        let (share, _, max) = difference(&rgb_tensor(&open(PICTURES.path(name)).unwrap()), &want[name]);
        println!("{name}: share of differing values {share:.4}, largest {max}");
        assert!(max <= 1.0, "{name}: {max}");
    }
}

#[test]
fn orientation_is_ignored_as_pil_ignores_it_and_applied_when_asked() {
    let names = PICTURES.group("oriented");
    let options = DecodeOptions { apply_orientation: true, ..Default::default() };
    let upright = rgb_tensor(&open(PICTURES.path("exif1.png")).unwrap());
    let turned = |orientation: usize| match orientation {
        1 => upright.shallow_clone(),
        2 => upright.flip([1]),
        3 => upright.flip([0, 1]),
        4 => upright.flip([0]),
        5 => upright.transpose(0, 1),
        6 => upright.rot90(-1, [0, 1]),
        7 => upright.transpose(0, 1).flip([0, 1]),
        _ => upright.rot90(1, [0, 1]),
    };
    let want = pil_decode(names);
    for orientation in 1..=8 {
        let name = format!("exif{orientation}.png");
        let ignored = open(PICTURES.path(&name)).unwrap();
        assert_same_bits(&name, &rgb_tensor(&ignored), &want[&name]);
        let applied = options.open(PICTURES.path(&name)).unwrap();
        assert_same_bits(&name, &rgb_tensor(&applied), &turned(orientation).contiguous());
        let jpeg = format!("exif{orientation}.jpg");
        let (ignored, applied) =
            (open(PICTURES.path(&jpeg)).unwrap(), options.open(PICTURES.path(&jpeg)).unwrap());
        assert_eq!(want[&jpeg].size(), rgb_tensor(&ignored).size());
        assert_eq!(rgb_tensor(&applied).size(), turned(orientation).size(), "{jpeg}");
        assert_eq!(ignored == applied, orientation == 1, "{jpeg}");
    }
}

#[test]
fn sixteen_bit_gray_keeps_its_looks_when_asked() {
    let options = DecodeOptions { wide_gray: WideGray::HighByte, ..Default::default() };
    let (dark, wide) = ("gray16_dark.png", "gray16.png");
    // The first file holds the second's high bytes, so clamping it is Pillow's high byte.
    assert_eq!(options.open(PICTURES.path(wide)).unwrap(), open(PICTURES.path(dark)).unwrap());
    assert_ne!(open(PICTURES.path(wide)).unwrap(), open(PICTURES.path(dark)).unwrap());
}
