//! Inputs and outputs that belong to an origin.

/// How pictures become the inputs of an origin's networks; the fields are those of
/// [`crate::transforms::ImageClassification`], and what is not here has its default.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct InputPreset {
    /// What the shorter side (both sides if `squash`) is resized to, in pixels.
    pub resize_size: u32,
    /// Whether both sides are resized, whatever that does to the picture's proportions.
    pub squash: bool,
    /// Side of the square cut out of the middle, in pixels.
    pub crop_size: u32,
    /// Whether resizing is bicubic, else bilinear.
    pub bicubic: bool,
    /// What black and white become before `mean` and `std`.
    pub range: [f64; 2],
    /// Subtracted from each channel; one number a channel.
    pub mean: &'static [f64],
    /// What each channel is divided by after that.
    pub std: &'static [f64],
}

/// Outputs that are independent labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputLabels {
    /// Their names in the classifier's order; empty where the origin does not fix them.
    pub names: &'static [&'static str],
}

const IMAGENET_MEAN: &[f64] = &[0.485, 0.456, 0.406];
const IMAGENET_STD: &[f64] = &[0.229, 0.224, 0.225];

pub(super) const IMAGENET: InputPreset = InputPreset {
    resize_size: 256,
    squash: false,
    crop_size: 224,
    bicubic: false,
    range: [0.0, 1.0],
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
};

/// timm's default for networks trained by itself.
pub(super) const TIMM: InputPreset = InputPreset { bicubic: true, ..IMAGENET };

/// `Resize((256, 256))`, `CenterCrop(224)`.
pub(super) const PLACES365: InputPreset = InputPreset { squash: true, ..IMAGENET };

/// CheXpert's networks: 320×320.
pub(super) const CHEXPERT: InputPreset = InputPreset { resize_size: 320, crop_size: 320, ..IMAGENET };

/// mmpretrain's `data_preprocessor`: ImageNet's numbers times 255.
pub(super) const MMPRETRAIN: InputPreset = InputPreset {
    range: [0.0, 255.0],
    mean: &[123.675, 116.28, 103.53],
    std: &[58.395, 57.12, 57.375],
    ..IMAGENET
};

/// torchxrayvision's `normalize`: (2·v/255 − 1)·1024, one channel.
pub(super) const XRAYVISION: InputPreset = InputPreset {
    resize_size: 224,
    squash: false,
    crop_size: 224,
    bicubic: false,
    range: [-1024.0, 1024.0],
    mean: &[0.0],
    std: &[1.0],
};

/// (v − 128)/64, gray repeated to three channels.
pub(super) const JFHEALTHCARE: InputPreset = InputPreset {
    resize_size: 512,
    squash: false,
    crop_size: 512,
    bicubic: false,
    range: [0.0, 255.0],
    mean: &[128.0; 3],
    std: &[64.0; 3],
};

/// 0 to 255 as they are, gray repeated to three channels.
pub(super) const RAW_255: InputPreset = InputPreset {
    resize_size: 224,
    squash: false,
    crop_size: 224,
    bicubic: false,
    range: [0.0, 255.0],
    mean: &[0.0; 3],
    std: &[1.0; 3],
};

/// CIFAR's pictures as bamos's and gpleiss's code normalizes them.
pub(super) const CIFAR: InputPreset = InputPreset {
    resize_size: 32,
    squash: false,
    crop_size: 32,
    bicubic: false,
    range: [0.0, 1.0],
    mean: &[0.4914, 0.4822, 0.4465],
    std: &[0.2470, 0.2435, 0.2616],
};

pub(super) const CIFAR_ANDREASVEIT: InputPreset =
    InputPreset { range: [0.0, 255.0], mean: &[125.3, 123.0, 113.9], std: &[63.0, 62.1, 66.7], ..CIFAR };

pub(super) const CIFAR_KUANGLIU: InputPreset = InputPreset { std: &[0.2023, 0.1994, 0.2010], ..CIFAR };

/// The labels of NIH ChestX-ray14 in the order of the CheXNet re-implementations.
pub(super) const CHEST_XRAY_14: &[&str] = &[
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
];

/// torchxrayvision's `default_pathologies`.
pub(super) const XRAYVISION_LABELS: &[&str] = &[
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
];
