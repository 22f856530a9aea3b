//! Augmentation against torchvision's functions on PIL images, given the same parameters.

mod recipes;

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
