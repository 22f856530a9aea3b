//! The whole preset against torchvision's.

use super::*;

fn presets() -> Vec<ImageClassification> {
    let standard = ImageClassification::default();
    let fashion =
        ImageClassification { channels: 1, mean: vec![0.286], std: vec![0.353], ..standard.clone() };
    vec![
        ImageClassification { interpolation: Interpolation::Bicubic, ..standard.clone() },
        ImageClassification { resize_size: Some(232), ..standard.clone() },
        ImageClassification { resize_size: Some(31), crop_size: Some(48), ..standard.clone() },
        ImageClassification { resize_size: None, ..standard.clone() },
        ImageClassification { squash: true, ..standard.clone() },
        ImageClassification { range: [-1024.0, 1024.0], mean: vec![0.0], std: vec![1.0], ..fashion.clone() },
        ImageClassification {
            range: [0.0, 255.0],
            mean: vec![123.675, 116.28, 103.53],
            std: vec![58.395, 57.12, 57.375],
            ..standard.clone()
        },
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
    let folder = &PICTURES.folder;
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
        for range in [[0.0, 1.0], [0.0, 255.0], [-1024.0, 1024.0]] {
            let preset = ImageClassification { range, ..preset.clone() };
            let question = json!({ "pictures": pixels, "preset": preset, "output": output });
            ask("torchvision_preset_of_pixels", question);
            let want = read_safetensors(&output);
            assert_same_bits(
                &format!("levels in {range:?}"),
                &preset.apply(&levels).unwrap(),
                &want["levels"],
            );
        }
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
    // What torchvision's preset does not have.
    assert_eq!(fields.remove("channels"), Some(json!(3)));
    assert_eq!(fields.remove("squash"), Some(json!(false)));
    assert_eq!(fields.remove("range"), Some(json!([0.0, 1.0])));
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
        ("range", ImageClassification { range: [1.0, 1.0], ..standard() }),
        ("range", ImageClassification { range: [0.0, f64::INFINITY], ..standard() }),
        ("range", ImageClassification { range: [f64::NAN, 1.0], ..standard() }),
        ("antialias", ImageClassification { antialias: false, ..standard() }),
    ] {
        match preset.apply(&picture) {
            Err(TransformError::Preset { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
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
