//! Pictures against the installed Pillow and torchvision.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::transforms::{
    batch, center_crop, decode, open, resize, resized_size, to_gray, DecodeOptions, GrayImage,
    ImageClassification, Interpolation, RgbImage, TransformError, WideGray,
};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tch::{Kind, Tensor};

/// Pictures of every format and mode, written once.
struct Pictures {
    folder: tempfile::TempDir,
    groups: BTreeMap<String, Vec<String>>,
}

static PICTURES: LazyLock<Pictures> = LazyLock::new(|| {
    let folder = scratch();
    let groups = ask("make_pictures", json!({ "folder": folder.path() }));
    Pictures { groups: serde_json::from_value(groups).unwrap(), folder }
});

impl Pictures {
    fn group(&self, name: &str) -> &[String] {
        let names = &self.groups[name];
        assert!(!names.is_empty());
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

fn rgb_tensor(picture: &RgbImage) -> Tensor {
    let shape = [i64::from(picture.height()), i64::from(picture.width()), 3];
    Tensor::from_slice(picture.as_raw()).view(shape)
}

fn rgb_image(tensor: &Tensor) -> RgbImage {
    let size = tensor.size();
    let bytes = Vec::<u8>::try_from(tensor.reshape([-1])).unwrap();
    RgbImage::from_raw(size[1] as u32, size[0] as u32, bytes).unwrap()
}

/// What Pillow makes of the files, [H, W, 3] each.
fn pil_decode(names: &[String]) -> BTreeMap<String, Tensor> {
    let scratch = scratch();
    let output = scratch.path().join("decoded.safetensors");
    let folder = PICTURES.folder.path();
    ask("pil_decode", json!({ "folder": folder, "names": names, "output": output }));
    read_safetensors(output)
}

/// (share of differing values, mean, largest difference) in levels.
fn difference(got: &Tensor, want: &Tensor) -> (f64, f64, f64) {
    assert_eq!(got.size(), want.size());
    let difference = (got.to_kind(Kind::Float) - want.to_kind(Kind::Float)).abs();
    let share = difference.ne(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
    (share, difference.mean(Kind::Float).double_value(&[]), difference.max().double_value(&[]))
}

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

/// Every filter, up and down, at sizes that divide nothing: (height, width) to (width, height).
fn resize_cases() -> Vec<(u32, u32, u32, u32, &'static str)> {
    let sizes = [
        (427, 641, 384, 256),
        (97, 131, 224, 224),
        (333, 77, 31, 401),
        (64, 64, 32, 32),
        (50, 75, 75, 50),
        (61, 59, 59, 61),
        (61, 59, 59, 17),
        (61, 59, 23, 61),
        (1, 1, 9, 7),
        (3, 2, 257, 129),
        (201, 1999, 1, 1),
        (700, 3, 5, 2),
        (1000, 1501, 341, 227),
        // Columns first: much taller than wide, or growing in width only; and the two sides of that bound.
        (1001, 301, 100, 333),
        (90, 61, 70, 40),
        (121, 60, 50, 100),
        (120, 60, 50, 100),
    ];
    let modes = ["nearest", "bilinear", "bicubic", "lanczos"];
    sizes.iter().flat_map(|&(h, w, to_w, to_h)| modes.map(|mode| (h, w, to_w, to_h, mode))).collect()
}

fn interpolation(name: &str) -> Interpolation {
    serde_json::from_value(json!(name)).unwrap()
}

#[test]
fn resizing_equals_pil_to_the_bit_up_and_down_with_every_filter() {
    let scratch = scratch();
    let cases = resize_cases();
    for mode in ["RGB", "L"] {
        let (source, output) =
            (scratch.path().join("source.safetensors"), scratch.path().join("output.safetensors"));
        let question = json!({ "source": source, "mode": mode, "cases": cases, "output": output });
        ask("pil_resize", question);
        let (pictures, want) = (read_safetensors(source), read_safetensors(output));
        assert_eq!(want.len(), cases.len());
        for (index, case) in cases.iter().enumerate() {
            let picture = &pictures[&index.to_string()];
            let (_, _, width, height, filter) = *case;
            let got = if mode == "RGB" {
                let picture = rgb_image(picture);
                rgb_tensor(&resize(&picture, width, height, interpolation(filter)).unwrap())
            } else {
                let bytes = Vec::<u8>::try_from(picture.reshape([-1])).unwrap();
                let picture = GrayImage::from_raw(case.1, case.0, bytes).unwrap();
                let small = resize(&picture, width, height, interpolation(filter)).unwrap();
                Tensor::from_slice(small.as_raw()).view([i64::from(height), i64::from(width), 1])
            };
            assert_same_bits(&format!("{mode} {case:?}"), &got, &want[&index.to_string()]);
        }
    }
}

#[test]
fn the_longer_side_is_torchvisions() {
    let mut cases = Vec::new();
    for width in [1, 2, 3, 28, 255, 256, 257, 341, 500, 640, 1999, 4096, 65535] {
        for height in [1, 5, 28, 255, 256, 333, 427, 480, 1001, 2731, 65500] {
            for short in [1, 28, 224, 232, 255, 256, 288, 342] {
                cases.push((width, height, short));
            }
        }
    }
    let want = ask("torchvision_sizes", json!({ "cases": cases }));
    let want: Vec<(u32, u32)> = serde_json::from_value(want).unwrap();
    assert_eq!(want.len(), cases.len());
    for ((width, height, short), want) in cases.into_iter().zip(want) {
        assert_eq!(resized_size(width, height, short), want, "{width}x{height} to {short}");
    }
}

#[test]
fn centre_crops_round_and_pad_as_torchvisions() {
    let mut cases = Vec::new();
    for size in 9..=14 {
        for crop in 8..=17 {
            cases.push((size, size + 3, crop, crop));
            cases.push((size + 2, size, crop, crop + 1));
        }
    }
    let scratch = scratch();
    let (source, output) =
        (scratch.path().join("source.safetensors"), scratch.path().join("output.safetensors"));
    ask("torchvision_center_crop", json!({ "source": source, "cases": cases, "output": output }));
    let (pictures, want) = (read_safetensors(source), read_safetensors(output));
    for (index, case) in cases.iter().enumerate() {
        let key = index.to_string();
        let cropped = center_crop(&rgb_image(&pictures[&key]), case.3, case.2).unwrap();
        assert_same_bits(&format!("{case:?}"), &rgb_tensor(&cropped), &want[&key]);
    }
}

fn presets() -> Vec<ImageClassification> {
    let standard = ImageClassification::default();
    let fashion =
        ImageClassification { channels: 1, mean: vec![0.286], std: vec![0.353], ..standard.clone() };
    vec![
        ImageClassification { interpolation: Interpolation::Bicubic, ..standard.clone() },
        ImageClassification { resize_size: Some(232), ..standard.clone() },
        ImageClassification { resize_size: Some(31), crop_size: Some(48), ..standard.clone() },
        ImageClassification { resize_size: None, ..standard.clone() },
        ImageClassification { crop_size: None, ..standard.clone() },
        ImageClassification { resize_size: None, crop_size: None, ..fashion.clone() },
        ImageClassification { resize_size: Some(32), crop_size: Some(28), ..fashion },
        standard,
    ]
}

#[test]
fn every_preset_on_every_png_is_0_ulp_from_torchvision() {
    let names = PICTURES.group("png");
    let cases: Vec<(&String, ImageClassification)> =
        names.iter().flat_map(|name| presets().into_iter().map(move |preset| (name, preset))).collect();
    let scratch = scratch();
    let output = scratch.path().join("output.safetensors");
    let folder = PICTURES.folder.path();
    ask("torchvision_preset", json!({ "folder": folder, "cases": cases, "output": output }));
    let want = read_safetensors(output);
    for (index, (name, preset)) in cases.iter().enumerate() {
        let got = preset.apply(&open(PICTURES.path(name)).unwrap()).unwrap();
        assert_same_bits(&format!("{name} {preset:?}"), &got, &want[&index.to_string()]);
    }
}

#[test]
fn jpeg_presets_are_0_ulp_apart_once_the_pixels_are_the_same() {
    let scratch = scratch();
    let (pixels, output) =
        (scratch.path().join("pixels.safetensors"), scratch.path().join("output.safetensors"));
    let preset = ImageClassification::default();
    let pictures: Vec<(&String, RgbImage)> =
        PICTURES.group("jpeg").iter().map(|name| (name, open(PICTURES.path(name)).unwrap())).collect();
    let tensors: Vec<_> = pictures.iter().map(|(name, p)| (name, rgb_tensor(p))).collect();
    Tensor::write_safetensors(&tensors, &pixels).unwrap();
    let question = json!({ "pictures": pixels, "preset": preset, "output": output });
    ask("torchvision_preset_of_pixels", question);
    let want = read_safetensors(output);
    for (name, picture) in &pictures {
        assert_same_bits(name, &preset.apply(picture).unwrap(), &want[*name]);
    }
}

/// A picture that holds every level of every channel, through channel statistics of all sorts.
#[test]
fn all_256_levels_normalize_to_torchvisions_bits() {
    let levels = RgbImage::from_fn(256, 1, |x, _| image::Rgb([x as u8, 255 - x as u8, x as u8]));
    let scratch = scratch();
    let (pixels, output) =
        (scratch.path().join("pixels.safetensors"), scratch.path().join("output.safetensors"));
    Tensor::write_safetensors(&[("levels", rgb_tensor(&levels))], &pixels).unwrap();
    for (mean, std) in [
        (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        (vec![0.5, 0.0, -0.1], vec![0.5, 1.0, 1e-7]),
        (vec![1.0 / 3.0, 0.48145466, 123.675], vec![0.26862954, 1.0 / 255.0, 58.395]),
    ] {
        let preset =
            ImageClassification { resize_size: None, crop_size: None, mean, std, ..Default::default() };
        let question = json!({ "pictures": pixels, "preset": preset, "output": output });
        ask("torchvision_preset_of_pixels", question);
        let want = read_safetensors(&output);
        assert_same_bits("levels", &preset.apply(&levels).unwrap(), &want["levels"]);
    }
}

#[test]
fn the_defaults_are_torchvisions_and_survive_json() {
    let want = ask("torchvision_defaults", json!({}));
    let preset = ImageClassification::default();
    let mut got = serde_json::to_value(&preset).unwrap();
    assert_eq!(serde_json::from_value::<ImageClassification>(got.clone()).unwrap(), preset);
    assert_eq!(serde_json::from_value::<ImageClassification>(json!({})).unwrap(), preset);
    let Value::Object(fields) = &mut got else { panic!("an object") };
    assert_eq!(fields.remove("channels"), Some(json!(3)));
    // torchvision keeps its two sizes in lists of one.
    for size in ["resize_size", "crop_size"] {
        fields[size] = json!([fields[size]]);
    }
    assert_eq!(got, want);
    let misspelt = json!({ "resise_size": 256 });
    assert!(serde_json::from_value::<ImageClassification>(misspelt).is_err());
}

#[test]
fn a_senseless_preset_is_refused_by_its_field() {
    let standard = ImageClassification::default;
    let picture = RgbImage::new(8, 8);
    for (field, preset) in [
        ("mean", ImageClassification { mean: vec![0.5], ..standard() }),
        ("std", ImageClassification { std: vec![0.5; 4], ..standard() }),
        ("std", ImageClassification { std: vec![0.5, 0.0, 0.5], ..standard() }),
        ("std", ImageClassification { std: vec![0.5, 1e-60, 0.5], ..standard() }),
        ("mean", ImageClassification { mean: vec![0.5, f64::NAN, 0.5], ..standard() }),
        ("channels", ImageClassification { channels: 2, ..standard() }),
        ("mean", ImageClassification { channels: 1, ..standard() }),
        ("resize_size", ImageClassification { resize_size: Some(0), ..standard() }),
        ("crop_size", ImageClassification { crop_size: Some(0), ..standard() }),
        ("antialias", ImageClassification { antialias: false, ..standard() }),
    ] {
        match preset.apply(&picture) {
            Err(TransformError::Preset { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn sizes_past_the_limit_are_refused_before_allocating() {
    let line = RgbImage::new(60_000, 1);
    let uncropped = ImageClassification { crop_size: None, ..Default::default() };
    assert!(matches!(uncropped.apply(&line), Err(TransformError::TooLarge { .. })));
    // With a crop only the crop is computed, so the same picture is no trouble.
    assert_eq!(ImageClassification::default().apply(&line).unwrap().size(), [3, 224, 224]);
    let huge = ImageClassification { crop_size: Some(4_000_000_000), ..Default::default() };
    assert!(matches!(huge.apply(&line), Err(TransformError::TooLarge { .. })));
    let enormous = ImageClassification { resize_size: Some(u32::MAX), ..Default::default() };
    assert_eq!(enormous.apply(&RgbImage::new(2, 2)).unwrap().size(), [3, 224, 224]);
    assert!(matches!(
        resize(&line, u32::MAX, u32::MAX, Interpolation::Bilinear),
        Err(TransformError::TooLarge { .. })
    ));
    for (from, to) in [((0, 0), (4, 4)), ((4, 4), (0, 4))] {
        let resized = resize(&RgbImage::new(from.0, from.1), to.0, to.1, Interpolation::Nearest);
        assert!(matches!(resized, Err(TransformError::EmptyPicture { .. })));
    }
    assert!(matches!(
        ImageClassification::default().apply(&RgbImage::new(0, 0)),
        Err(TransformError::EmptyPicture { .. })
    ));
    // A header of 60000 by 60000 pixels, a few bytes long.
    let mut png = PICTURES.bytes("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let refused = decode(&png).unwrap_err();
    assert!(
        matches!(refused, TransformError::TooManyPixels { width: 60_000, height: 60_000, .. }),
        "{refused}"
    );
    let small = DecodeOptions { max_pixels: 1000, ..Default::default() };
    for name in ["rgb.png", "444.jpg", "rgb.bmp", "palette.gif", "rgb.tiff", "rgb.webp", "rgb.ppm"] {
        let refused = small.open(PICTURES.path(name)).unwrap_err();
        assert!(matches!(refused, TransformError::TooManyPixels { limit: 1000, .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

/// PNG's checksum (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[test]
fn gray_is_pils_luma_and_keeps_gray_pictures() {
    let gray = RgbImage::from_fn(256, 1, |x, _| image::Rgb([x as u8; 3]));
    assert_eq!(to_gray(&gray).into_raw(), (0..=255).collect::<Vec<u8>>());
}

#[test]
fn a_batch_stacks_tensors_of_one_shape_only() {
    let small = ImageClassification { crop_size: Some(5), ..Default::default() };
    let one = small.apply(&RgbImage::new(9, 9)).unwrap();
    let two = small.apply(&RgbImage::from_pixel(9, 9, image::Rgb([9; 3]))).unwrap();
    let both = batch(&[one.shallow_clone(), two.shallow_clone()]).unwrap();
    assert_eq!(both.size(), [2, 3, 5, 5]);
    assert_same_bits("second", &both.get(1), &two);
    assert!(matches!(batch(&[]), Err(TransformError::EmptyBatch)));
    let other = batch(&[one, Tensor::zeros([3, 4, 4], (Kind::Float, tch::Device::Cpu))]);
    assert!(matches!(other, Err(TransformError::UnequalShapes { index: 1, .. })));
}

#[test]
fn what_is_no_picture_or_not_supported_says_so_with_its_path() {
    let folder = scratch();
    let told = |path: &Path| {
        let error = open(path).unwrap_err();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        error
    };
    let path = folder.path().join("notes.jpg");
    for words in [&b"hello"[..], b"", b"\xff", b"version https://git-lfs.github.com/spec/v1\n"] {
        std::fs::write(&path, words).unwrap();
        assert!(matches!(told(&path), TransformError::NotAPicture { .. }));
    }
    assert!(matches!(told(&folder.path().join("missing.png")), TransformError::Io { .. }));
    assert!(matches!(told(folder.path()), TransformError::Io { .. }));
    for name in PICTURES.group("unsupported") {
        let error = told(&PICTURES.path(name));
        match error {
            TransformError::NotAPicture { .. } => assert!(name.ends_with(".tga"), "{name}"),
            TransformError::Unsupported { .. } => assert!(!name.ends_with(".tga"), "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}

/// Small files of every format, each kind of stream once.
const FRAGILE: [&str; 18] = [
    "420_small.jpg",
    "cmyk.jpg",
    "progressive.jpg",
    "palette_alphas.png",
    "interlaced.png",
    "rgb16.png",
    "one_bit.bmp",
    "palette.bmp",
    "565.bmp",
    "transparent.gif",
    "offset_frame.gif",
    "animated.gif",
    "plain.ppm",
    "maxval1000.ppm",
    "rgb.webp",
    "lossy_alpha.webp",
    "tiff_lzw.tiff",
    "rgb16.tiff",
];

/// Flips bits through a file; decoding may fail or not, but only with an error. Files of many bytes are flipped at
/// `FLIPS` places: all of the head, where the structure is, and evenly through the rest.
#[test]
fn a_damaged_picture_is_an_error_or_a_picture_never_a_panic() {
    const HEAD: usize = 160;
    const FLIPS: usize = 400;
    let options = DecodeOptions { max_pixels: 1 << 20, ..Default::default() };
    for name in FRAGILE {
        let mut bytes = PICTURES.bytes(name);
        let step = (bytes.len() / FLIPS).max(1);
        let places: Vec<usize> =
            (0..bytes.len().min(HEAD)).chain((HEAD..bytes.len()).step_by(step)).collect();
        for at in places {
            for flip in [0x01, 0x80, 0xFF] {
                bytes[at] ^= flip;
                let outcome = std::panic::catch_unwind(|| options.decode(&bytes));
                let outcome = outcome.unwrap_or_else(|_| panic!("{name}: byte {at} ^ {flip:#x}"));
                if let Ok(picture) = outcome {
                    assert!(u64::from(picture.width()) * u64::from(picture.height()) <= 1 << 20);
                }
                bytes[at] ^= flip;
            }
        }
    }
}

#[test]
fn a_truncated_picture_is_refused_where_pil_refuses_it_unless_all_pixels_are_there() {
    let folder = scratch();
    for name in FRAGILE {
        let bytes = PICTURES.bytes(name);
        let whole = decode(&bytes).unwrap();
        let refused = ask("pil_prefixes", json!({ "path": PICTURES.path(name) }));
        let refused: Vec<usize> = serde_json::from_value(refused).unwrap();
        assert!(refused.len() > bytes.len() / 2, "{name}");
        for &length in &refused {
            assert!(decode(&bytes[..length]).is_err(), "{name}: {length} of {}", bytes.len());
        }
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = open(&path).unwrap_err();
        let named = matches!(error, TransformError::Truncated { .. } | TransformError::Decode { .. });
        assert!(named, "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
        println!("{error}");
    }
}
