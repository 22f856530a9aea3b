//! Resizing, sizes and crops against Pillow's and torchvision's.

use super::*;

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
