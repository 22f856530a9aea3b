//! Pictures against the installed Pillow and torchvision.

mod damage;
mod decode;
mod preset;
mod resize;

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
    folder: PathBuf,
    groups: BTreeMap<String, Vec<String>>,
}

static PICTURES: LazyLock<Pictures> = LazyLock::new(|| {
    // Not a folder in the system's temporary one: a static is never dropped, and each run would leave one behind.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    let groups = ask("make_pictures", json!({ "folder": folder }));
    Pictures { groups: serde_json::from_value(groups).unwrap(), folder }
});

impl Pictures {
    fn group(&self, name: &str) -> &[String] {
        let names = &self.groups[name];
        assert!(!names.is_empty());
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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
    let folder = &PICTURES.folder;
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
