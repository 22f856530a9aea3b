//! Augmentation against torchvision's functions on PIL images, given the same parameters.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::data::{augmented, Dataset, ImageFolder, Loader, LoaderOptions};
use densenet::transforms::augment::{
    color, crop, flip_horizontally, levels, warp, Augment, ColorJitter, Erasing, HorizontalFlip, Jitter, Mix,
    Mixing, Operation, PaddedCrop, RandAugment, RandomCrop, RandomErasing, RandomResizedCrop, Region, Step,
    TrivialAugment,
};
use densenet::transforms::{Draw, ImageClassification, Interpolation, RgbImage, TransformError};
use serde_json::{json, Value};
use std::sync::Arc;
use tch::{Kind, Tensor};

type Change = Box<dyn Fn(RgbImage) -> RgbImage>;

/// A picture and what is done to it, there (as `commands_augment.py` calls it) and here.
struct Case {
    picture: (&'static str, u32, u32),
    change: &'static str,
    arguments: Value,
    ours: Change,
}

fn case(
    picture: (&'static str, u32, u32),
    change: &'static str,
    arguments: Value,
    ours: impl Fn(RgbImage) -> RgbImage + 'static,
) -> Case {
    Case { picture, change, arguments, ours: Box::new(ours) }
}

fn tensor(picture: &RgbImage) -> Tensor {
    let shape = [i64::from(picture.height()), i64::from(picture.width()), 3];
    Tensor::from_slice(picture.as_raw()).view(shape)
}

fn picture(tensor: &Tensor) -> RgbImage {
    let size = tensor.size();
    let bytes = Vec::<u8>::try_from(tensor.reshape([-1])).unwrap();
    RgbImage::from_raw(size[1] as u32, size[0] as u32, bytes).unwrap()
}

/// Runs every case and prints all that differ.
fn compare(cases: &[Case]) {
    let scratch = scratch();
    let (source, output) =
        (scratch.path().join("before.safetensors"), scratch.path().join("after.safetensors"));
    let list: Vec<Value> = cases
        .iter()
        .map(|case| json!([case.picture.0, case.picture.1, case.picture.2, case.change, case.arguments]))
        .collect();
    ask("torchvision_changes", json!({ "source": source, "cases": list, "output": output }));
    let (before, after) = (read_safetensors(source), read_safetensors(output));
    assert_eq!(after.len(), cases.len());
    let mut changed = 0;
    for (index, case) in cases.iter().enumerate() {
        let key = index.to_string();
        let got = tensor(&(case.ours)(picture(&before[&key])));
        let name = format!("{:?} {} {}", case.picture, case.change, case.arguments);
        assert_same_bits(&name, &got, &after[&key]);
        changed += usize::from(!got.equal(&before[&key]) || got.size() != before[&key].size());
    }
    // A comparison of pictures that nothing happened to would show nothing.
    assert!(2 * changed > cases.len(), "only {changed} of {} cases change their picture", cases.len());
}

const PHOTOGRAPH: (&str, u32, u32) = ("photograph", 61, 83);
const COLORS: (&str, u32, u32) = ("colors", 64, 96);

#[test]
fn colour_changes_equal_torchvisions_on_pil_images_to_the_bit() {
    let mut cases = Vec::new();
    for picture in [PHOTOGRAPH, COLORS, ("flat", 5, 7), ("photograph", 2, 9), ("photograph", 1, 1)] {
        for factor in [0.0, 0.003, 0.37, 0.5, 0.999, 1.0, 1.001, 1.4, 1.99, 7.5] {
            cases.push(case(picture, "brightness", json!([factor]), move |p| color::brightness(p, factor)));
            cases.push(case(picture, "contrast", json!([factor]), move |p| color::contrast(p, factor)));
            cases.push(case(picture, "saturation", json!([factor]), move |p| color::saturation(p, factor)));
            cases.push(case(picture, "sharpness", json!([factor]), move |p| color::sharpness(&p, factor)));
        }
        for turn in [-0.5, -0.31, -0.004, 0.0, 0.002, 0.1, 0.25, 0.499, 0.5] {
            cases.push(case(picture, "hue", json!([turn]), move |p| color::hue(p, turn)));
        }
    }
    compare(&cases);
}

#[test]
fn changes_of_levels_equal_torchvisions_on_pil_images_to_the_bit() {
    let mut cases = Vec::new();
    let pictures =
        [PHOTOGRAPH, COLORS, ("flat", 40, 40), ("few", 30, 30), ("few", 3, 3), ("photograph", 300, 200)];
    for picture in pictures {
        for bits in 1..=8 {
            cases.push(case(picture, "posterize", json!([bits]), move |p| levels::posterize(p, bits)));
        }
        for threshold in [0.0, 0.5, 100.0, 127.5, 254.9, 255.0] {
            cases
                .push(case(picture, "solarize", json!([threshold]), move |p| levels::solarize(p, threshold)));
        }
        cases.push(case(picture, "autocontrast", json!([]), levels::autocontrast));
        cases.push(case(picture, "equalize", json!([]), levels::equalize));
    }
    compare(&cases);
}

#[test]
fn warps_equal_torchvisions_on_pil_images_to_the_bit() {
    let mut cases = Vec::new();
    for picture in [PHOTOGRAPH, ("colors", 48, 48), ("photograph", 1, 30), ("photograph", 97, 2)] {
        for degrees in [-270.0, -135.0, -90.0, -30.0, -4.5, 0.0, 1.0, 27.0, 45.0, 90.0, 117.3, 180.0, 360.5] {
            cases.push(case(picture, "rotate", json!([degrees]), move |p| warp::rotate(&p, degrees)));
        }
        for (right, down) in [(3, -5), (-32, 0), (0, 19), (200, 1), (0, 0)] {
            cases.push(case(picture, "translate", json!([right, down]), move |p| {
                warp::translate(&p, right, down)
            }));
        }
        for slope in [-0.99, -0.3, -0.033, 0.0, 0.01, 0.27, 0.99] {
            cases.push(case(picture, "policy", json!(["ShearX", slope]), move |p| warp::shear_x(&p, slope)));
            cases.push(case(picture, "policy", json!(["ShearY", slope]), move |p| warp::shear_y(&p, slope)));
        }
    }
    // Too wide for fixed point, and scaled without slant.
    let matrices = [
        ("photograph", 2, 33_000, [0.999, 0.2, -0.1, 0.0001, 1.0, 0.3]),
        ("photograph", 30, 40, [0.7, 0.0, 2.3, 0.0, 1.3, -4.0]),
        ("photograph", 30, 40, [-1.0, 0.0, 40.0, 0.0, -1.0, 30.0]),
    ];
    for (kind, height, width, matrix) in matrices {
        let picture = (kind, height, width);
        cases.push(case(picture, "transform", json!([matrix]), move |p| warp::transform(&p, matrix)));
    }
    compare(&cases);
}

#[test]
fn crops_and_flips_equal_torchvisions_on_pil_images_to_the_bit() {
    let mut cases = vec![case(PHOTOGRAPH, "flip", json!([]), flip_horizontally)];
    for (top, left, height, width) in [(0, 0, 61, 83), (3, 11, 40, 17), (60, 82, 1, 1), (10, 0, 50, 83)] {
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for (h, w) in [(32, 32), (224, 224), (19, 47)] {
                let region = Region { top, left, height, width };
                let arguments = json!([top, left, height, width, [h, w], interpolation]);
                cases.push(case(PHOTOGRAPH, "resized_crop", arguments, move |p| {
                    RandomResizedCrop::apply(&p, region, w, h, interpolation).unwrap()
                }));
            }
        }
    }
    for (padding, top, left) in [(4, 0, 0), (4, 8, 8), (4, 3, 5), (40, 0, 79), (0, 0, 0)] {
        for fill in [[0, 0, 0], [124, 116, 104]] {
            let step = RandomCrop { padding, fill };
            cases.push(case(
                ("colors", 32, 30),
                "padded_crop",
                json!([padding, fill, top, left]),
                move |p| step.apply(&p, PaddedCrop { top, left }),
            ));
        }
    }
    compare(&cases);
}

/// torchvision's name of an operation, and its magnitude.
fn as_torchvision(operation: Operation) -> (&'static str, f64) {
    match operation {
        Operation::Identity => ("Identity", 0.0),
        Operation::ShearX(m) => ("ShearX", m),
        Operation::ShearY(m) => ("ShearY", m),
        Operation::TranslateX(m) => ("TranslateX", m),
        Operation::TranslateY(m) => ("TranslateY", m),
        Operation::Rotate(m) => ("Rotate", m),
        Operation::Brightness(m) => ("Brightness", m),
        Operation::Color(m) => ("Color", m),
        Operation::Contrast(m) => ("Contrast", m),
        Operation::Sharpness(m) => ("Sharpness", m),
        Operation::Posterize(bits) => ("Posterize", bits.into()),
        Operation::Solarize(m) => ("Solarize", m),
        Operation::AutoContrast => ("AutoContrast", 0.0),
        Operation::Equalize => ("Equalize", 0.0),
    }
}

#[test]
fn policies_have_torchvisions_operations_and_magnitudes_to_the_bit() {
    for bins in [31, 10] {
        for (name, magnitude) in [("trivial", 0), ("rand", 9), ("rand", 3)] {
            let question =
                json!({ "name": name, "width": 83, "height": 61, "bins": bins, "magnitude": magnitude });
            let want: Vec<(String, Option<Vec<f64>>, bool)> =
                serde_json::from_value(ask("torchvision_policy", question)).unwrap();
            assert_eq!(want.len(), 14);
            for (index, (operation, magnitudes, signed)) in want.into_iter().enumerate() {
                let ours = |bin: usize, negative| {
                    let index = index as u64;
                    let operation = match name {
                        "trivial" => {
                            TrivialAugment { num_magnitude_bins: bins }.operation(index, bin, negative)
                        }
                        _ => RandAugment { magnitude, num_magnitude_bins: bins, ..RandAugment::default() }
                            .operation(index, 83, 61, negative),
                    };
                    as_torchvision(operation.unwrap())
                };
                let magnitudes = magnitudes.unwrap_or_else(|| vec![0.0]);
                for (bin, magnitude) in magnitudes.into_iter().enumerate() {
                    assert_eq!(
                        ours(bin, false),
                        (operation.as_str(), magnitude),
                        "{name}, bin {bin} of {bins}"
                    );
                    let negative = if signed { -magnitude } else { magnitude };
                    assert_eq!(
                        ours(bin, true),
                        (operation.as_str(), negative),
                        "{name}, bin {bin} of {bins}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_policies_draw_equals_torchvisions_on_pil_images_to_the_bit() {
    let mut cases = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..120 {
        let mut rng = Draw { seed: 5, epoch: 0, index }.rng();
        let mut operations = vec![TrivialAugment::default().draw(&mut rng).unwrap()];
        operations.extend(RandAugment::default().draw(&mut rng, 83, 61).unwrap());
        for operation in operations {
            let (name, magnitude) = as_torchvision(operation);
            seen.insert(name);
            cases.push(case(PHOTOGRAPH, "policy", json!([name, magnitude]), move |p| operation.apply(p)));
        }
    }
    assert_eq!(seen.len(), 14, "{seen:?}");
    compare(&cases);
}

#[test]
fn parts_that_cannot_fit_become_torchvisions_middle() {
    let sizes = [(10, 10), (100, 20), (20, 100), (40, 30), (30, 40), (41, 30), (7, 1), (1, 7), (333, 250)];
    let recipe = RandomResizedCrop { scale: [4.0, 4.0], ..RandomResizedCrop::default() };
    let want = ask("torchvision_middles", json!({ "sizes": sizes, "ratio": recipe.ratio }));
    let want: Vec<[u32; 4]> = serde_json::from_value(want).unwrap();
    for ((width, height), want) in sizes.into_iter().zip(want) {
        let Region { top, left, height: h, width: w } =
            recipe.draw(&mut Draw { seed: 0, epoch: 0, index: 0 }.rng(), width, height);
        assert_eq!([top, left, h, w], want, "{width}x{height}");
    }
}

#[test]
fn parts_are_distributed_as_torchvisions() {
    const COUNT: u32 = 4000;
    let recipe = RandomResizedCrop::default();
    let (width, height) = (120, 90);
    let question = json!({
        "width": width, "height": height, "scale": recipe.scale, "ratio": recipe.ratio, "count": COUNT
    });
    let want: [f64; 4] = serde_json::from_value(ask("torchvision_regions", question)).unwrap();
    let mut got = [0.0; 4];
    for index in 0..COUNT.into() {
        let region = recipe.draw(&mut Draw { seed: 1, epoch: 0, index }.rng(), width, height);
        assert!(crop(&RgbImage::new(width, height), region).is_ok(), "{region:?}");
        let (h, w) = (f64::from(region.height), f64::from(region.width));
        let share = h * w / f64::from(width * height);
        let place = [f64::from(region.top) / f64::from(height), f64::from(region.left) / f64::from(width)];
        for (total, value) in got.iter_mut().zip([share, (w / h).ln(), place[0], place[1]]) {
            *total += value / f64::from(COUNT);
        }
    }
    // Standard errors of these means are 0.004 at most.
    for (got, want) in got.into_iter().zip(want) {
        assert!((got - want).abs() < 0.02, "{got} and {want}");
    }
}

#[test]
fn erasing_equals_torchvisions_to_the_bit() {
    let scratch = scratch();
    let (input, output) =
        (scratch.path().join("input.safetensors"), scratch.path().join("output.safetensors"));
    let pixels = Tensor::arange(3 * 20 * 30, (Kind::Float, tch::Device::Cpu)).view([3, 20, 30]) + 1.0;
    for noise in [false, true] {
        let recipe = RandomErasing { p: 1.0, noise, ..RandomErasing::default() };
        for index in 0..20 {
            let drawn = recipe.draw(&mut Draw { seed: 2, epoch: 0, index }.rng(), 3, 20, 30).unwrap();
            let Region { top, left, height, width } = drawn.region;
            assert_eq!(drawn.values.len(), if noise { 3 * (height * width) as usize } else { 0 });
            let mut tensors = vec![("input", pixels.copy())];
            if noise {
                let shape = [3, i64::from(height), i64::from(width)];
                tensors.push(("values", Tensor::from_slice(&drawn.values).view(shape)));
            }
            Tensor::write_safetensors(&tensors, &input).unwrap();
            let region = [top, left, height, width];
            ask(
                "torchvision_erased",
                json!({ "input": input, "region": region, "values": noise, "output": output }),
            );
            let got = pixels.copy();
            drawn.apply(&got).unwrap();
            assert_same_bits("erased", &got, &read_safetensors(&output)["erased"]);
            assert!(!got.equal(&pixels));
        }
    }
}

#[test]
fn mixed_batches_equal_torchvisions_to_the_bit() {
    let scratch = scratch();
    let (input, output) =
        (scratch.path().join("input.safetensors"), scratch.path().join("output.safetensors"));
    let images =
        Tensor::linspace(-2.0, 2.0, 5 * 3 * 12 * 16, (Kind::Float, tch::Device::Cpu)).view([5, 3, 12, 16]);
    let classes = Tensor::from_slice(&[2i64, 0, 3, 3, 1]);
    let labels = Tensor::from_slice(&[
        1f32, 0., 1., 0., 0., 0., 0., 1., 1., 1., 1., 1., 0., 0., 1., 0., 0., 0., 1., 0.,
    ])
    .view([5, 4]);
    for targets in [classes, labels] {
        Tensor::write_safetensors(&[("images", &images), ("targets", &targets)], &input).unwrap();
        let mut ways = [0, 0];
        for batch in 0..12 {
            let mix = Mixing::default().draw(3, 1, batch, 12, 16).unwrap();
            let mut question = json!({ "input": input, "output": output, "classes": 4 });
            match mix {
                Mix::Up { own_share } => {
                    ways[0] += 1;
                    question["share"] = json!(own_share);
                }
                Mix::Cut { region: Region { top, left, height, width }, .. } => {
                    ways[1] += 1;
                    question["box"] = json!([left, top, left + width, top + height]);
                }
            }
            ask("torchvision_mixed", question);
            let want = read_safetensors(&output);
            assert_same_bits("images", &mix.apply(&images).unwrap(), &want["images"]);
            assert_same_bits("targets", &mix.targets(&targets, 4).unwrap(), &want["targets"]);
        }
        assert!(ways.iter().all(|count| *count > 2), "{ways:?}");
    }
}

#[test]
fn every_recipe_makes_the_presets_size_and_repeats_itself_for_any_number_of_workers() {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");
    let folder = scratch();
    // examples/images has no folders for its classes.
    for entry in std::fs::read_dir(images).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let Some((class, _)) = name.rsplit_once('_') else { continue };
        std::fs::create_dir_all(folder.path().join(class)).unwrap();
        std::fs::copy(entry.path(), folder.path().join(class).join(&name)).unwrap();
    }
    let dataset: Arc<dyn Dataset> = Arc::new(ImageFolder::open(folder.path()).unwrap());
    let gray = ImageClassification { channels: 1, mean: vec![0.5], std: vec![0.25], ..Default::default() };
    let presets = [
        ImageClassification { resize_size: Some(40), crop_size: Some(36), ..Default::default() },
        ImageClassification { resize_size: None, crop_size: None, ..gray },
    ];
    for preset in presets {
        let channels = i64::from(preset.channels);
        let size = preset.crop_size.map_or(28, i64::from);
        for (name, _) in Augment::NAMES {
            let recipe = Augment::named(name).unwrap();
            let text = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Augment>(&text).unwrap(), recipe, "{text}");
            let epoch = |workers, epoch| {
                let options = LoaderOptions { workers, seed: 9, ..LoaderOptions::default() };
                let pipeline = augmented(recipe.clone(), preset.clone()).unwrap();
                let loader = Loader::new(Arc::clone(&dataset), pipeline, options).unwrap();
                let batch = loader.epoch(epoch, 0).unwrap().next().unwrap().unwrap();
                assert_eq!(batch.images.size()[1..], [channels, size, size], "{name}");
                batch.images
            };
            let first = epoch(0, 0);
            assert_same_bits(name, &epoch(3, 0), &first);
            assert_eq!(epoch(0, 1).equal(&first), name == "none", "{name} in another epoch");
        }
    }
}

#[test]
fn a_recipe_without_chance_is_the_preset() {
    let photograph = RgbImage::from_fn(90, 70, |x, y| image::Rgb([x as u8, (3 * y) as u8, (x * y) as u8]));
    let preset = ImageClassification { resize_size: Some(50), crop_size: Some(60), ..Default::default() };
    let never = Augment {
        steps: vec![Step::HorizontalFlip(HorizontalFlip { p: 0.0 })],
        erasing: Some(RandomErasing { p: 0.0, ..RandomErasing::default() }),
        mixing: None,
    };
    let draw = Draw { seed: 0, epoch: 0, index: 0 };
    let got = never.apply(&photograph, draw, &preset).unwrap();
    assert_same_bits("input", &got, &preset.apply(&photograph).unwrap());
}

#[test]
fn colour_jitter_draws_within_its_ranges_in_every_order() {
    let recipe = ColorJitter { brightness: 0.4, contrast: 2.0, saturation: 0.1, hue: 0.3 };
    let mut firsts = [0; 4];
    for index in 0..400 {
        let drawn = recipe.draw(&mut Draw { seed: 0, epoch: 0, index }.rng());
        assert_eq!(drawn.len(), 4);
        for jitter in &drawn {
            let (value, range) = match *jitter {
                Jitter::Brightness(value) => (value, 0.6..1.4),
                Jitter::Contrast(value) => (value, 0.0..3.0),
                Jitter::Saturation(value) => (value, 0.9..1.1),
                Jitter::Hue(value) => (value, -0.3..0.3),
            };
            assert!(range.contains(&value), "{jitter:?}");
        }
        firsts[match drawn[0] {
            Jitter::Brightness(_) => 0,
            Jitter::Contrast(_) => 1,
            Jitter::Saturation(_) => 2,
            Jitter::Hue(_) => 3,
        }] += 1;
    }
    assert!(firsts.iter().all(|count| (60..140).contains(count)), "{firsts:?}");
    let alone = ColorJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.1 };
    assert!(matches!(alone.draw(&mut Draw { seed: 0, epoch: 0, index: 0 }.rng())[..], [Jitter::Hue(_)]));
}

#[test]
fn recipes_that_make_no_sense_are_refused_with_step_and_field() {
    let refused = [
        (r#"{"steps":[{"horizontal_flip":{"p":1.5}}]}"#, "horizontal_flip: p is 1.5"),
        (
            r#"{"steps":[{"random_resized_crop":{"scale":[0.5,0.1]}}]}"#,
            "random_resized_crop: scale is [0.5, 0.1]",
        ),
        (r#"{"steps":[{"random_resized_crop":{"ratio":[0.0,1.0]}}]}"#, "random_resized_crop: ratio"),
        (r#"{"steps":[{"color_jitter":{"hue":0.6}}]}"#, "color_jitter: hue is 0.6"),
        (r#"{"steps":[{"color_jitter":{"contrast":-1}}]}"#, "color_jitter: contrast is -1.0"),
        (
            r#"{"steps":[{"trivial_augment":{"num_magnitude_bins":1}}]}"#,
            "trivial_augment: num_magnitude_bins is 1",
        ),
        (r#"{"steps":[{"rand_augment":{"magnitude":31}}]}"#, "rand_augment: magnitude is 31"),
        (r#"{"steps":[{"random_crop":{"padding":4000000000}}]}"#, "4294967295x4294967295"),
        (r#"{"erasing":{"p":-0.1}}"#, "random_erasing: p is -0.1"),
        (r#"{"mixing":{"mixup_alpha":-0.2}}"#, "mixing: mixup_alpha is -0.2"),
    ];
    for (text, words) in refused {
        let recipe: Augment = serde_json::from_str(text).unwrap();
        let error = augmented(recipe, ImageClassification::default()).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(serde_json::from_str::<Augment>(r#"{"steps":[{"horizontal_flip":{"q":1}}]}"#).is_err());
    let error = Augment::named("cutout").unwrap_err();
    assert!(matches!(error, TransformError::UnknownAugmentation { .. }));
    assert!(Augment::NAMES.iter().all(|(name, _)| error.to_string().contains(name)), "{error}");
    let outside = Region { top: u32::MAX, left: 0, height: 2, width: 1 };
    assert!(matches!(crop(&RgbImage::new(3, 3), outside), Err(TransformError::OutsidePicture { .. })));
    let erasing = Erasing { region: outside, values: vec![] };
    assert!(erasing.apply(&Tensor::zeros([3, 3, 3], (Kind::Float, tch::Device::Cpu))).is_err());
}
