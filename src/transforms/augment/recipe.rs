//! What is done to the pictures of a run.

use super::super::preset::{to_gray, ImageClassification};
use super::super::{Draw, Result, Rng, TransformError};
use super::*;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tch::Tensor;

/// One change of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Takes the place of the preset's resizing and cropping.
    RandomResizedCrop(RandomResizedCrop),
    /// A border, and a part of the old size.
    RandomCrop(RandomCrop),
    /// Left for right.
    HorizontalFlip(HorizontalFlip),
    /// Colours.
    ColorJitter(ColorJitter),
    /// One of fourteen operations.
    TrivialAugment(TrivialAugment),
    /// Some of fourteen operations.
    RandAugment(RandAugment),
}

/// A recipe: steps of a picture in their order, then the preset's normalizing, then what is done to inputs and batches.
///
/// As data it goes into a run's folder. Without a [`Step::RandomResizedCrop`] the preset's own resizing and cropping come
/// first, so that every recipe makes inputs of the preset's size.
///
/// ```
/// use densenet::transforms::{augment::Augment, Draw, ImageClassification, RgbImage};
///
/// let recipe = Augment::named("imagenet")?;
/// let draw = Draw { seed: 0, epoch: 0, index: 7 };
/// let input = recipe.apply(&RgbImage::new(640, 427), draw, &ImageClassification::default())?;
/// assert_eq!(input.size(), [3, 224, 224]);
/// # Ok::<(), densenet::transforms::TransformError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// What happens to a picture, in this order.
    pub steps: Vec<Step>,
    /// What happens to a network's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasing: Option<RandomErasing>,
    /// What happens to a batch; whoever trains applies it ([`Mixing::draw`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixing: Option<Mixing>,
}

impl Augment {
    /// The names that [`Augment::named`] knows, and what they do.
    pub const NAMES: [(&'static str, &'static str); 8] = [
        ("none", "the preset alone, as in evaluation"),
        ("flip", "left for right, every other picture"),
        ("cifar", "a border of 4 pixels, a part of the old size, flip: the paper's for CIFAR"),
        ("imagenet", "a part of random size and shape, flip: torchvision's for ImageNet"),
        ("jitter", "imagenet, and brightness, contrast and saturation: the original code's"),
        ("trivial", "imagenet, and TrivialAugment"),
        ("rand", "imagenet, and RandAugment"),
        ("strong", "trivial, and random erasing, mixup and cutmix: torchvision's newer recipe"),
    ];

    /// A usual recipe.
    ///
    /// # Errors
    /// [`TransformError::UnknownAugmentation`] lists the names.
    pub fn named(name: &str) -> Result<Augment> {
        let flip = || Step::HorizontalFlip(HorizontalFlip::default());
        let part = || Step::RandomResizedCrop(RandomResizedCrop::default());
        let trivial = || Step::TrivialAugment(TrivialAugment::default());
        let steps = match name {
            "none" => vec![],
            "flip" => vec![flip()],
            "cifar" => vec![Step::RandomCrop(RandomCrop::default()), flip()],
            "imagenet" => vec![part(), flip()],
            "jitter" => vec![part(), Step::ColorJitter(ColorJitter::default()), flip()],
            "trivial" | "strong" => vec![part(), flip(), trivial()],
            "rand" => vec![part(), flip(), Step::RandAugment(RandAugment::default())],
            _ => return Err(TransformError::UnknownAugmentation { name: name.to_string() }),
        };
        let strong = name == "strong";
        Ok(Augment {
            steps,
            erasing: strong.then(|| RandomErasing { p: 0.1, ..RandomErasing::default() }),
            mixing: strong.then(Mixing::default),
        })
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`TransformError::Augmentation`] says which and what it must be.
    pub fn validate(&self) -> Result<()> {
        for step in &self.steps {
            match step {
                Step::RandomResizedCrop(step) => step.validate()?,
                Step::RandomCrop(step) => step.validate()?,
                Step::HorizontalFlip(step) => step.validate()?,
                Step::ColorJitter(step) => step.validate()?,
                Step::TrivialAugment(step) => step.validate()?,
                Step::RandAugment(step) => step.validate()?,
            }
        }
        self.erasing.iter().try_for_each(RandomErasing::validate)?;
        self.mixing.iter().try_for_each(Mixing::validate)
    }

    /// A picture as the network sees it in training: [C, H, W], f32, as [`ImageClassification::apply`] makes it but for
    /// what `draw` changes. Gray networks see gray pictures throughout.
    ///
    /// # Errors
    /// [`TransformError::Augmentation`], or as [`ImageClassification::apply`].
    pub fn apply(&self, picture: &RgbImage, draw: Draw, preset: &ImageClassification) -> Result<Tensor> {
        self.validate()?;
        if self.steps.is_empty() && self.erasing.is_none() {
            return preset.apply(picture);
        }
        let mut rng = draw.rng();
        let cuts = self.steps.iter().any(|step| matches!(step, Step::RandomResizedCrop(_)));
        let mut picture = match preset.channels {
            1 => Cow::Owned(image::DynamicImage::ImageLuma8(to_gray(picture)).into_rgb8()),
            _ => Cow::Borrowed(picture),
        };
        if !cuts {
            picture = Cow::Owned(preset.cut(&picture)?);
        }
        for step in &self.steps {
            picture = Cow::Owned(step.apply(picture, &mut rng, preset)?);
        }
        let input = preset.normalize(&picture)?;
        if let Some(erasing) = &self.erasing {
            let (width, height) = picture.dimensions();
            if let Some(erasing) = erasing.draw(&mut rng, preset.channels as usize, height, width) {
                erasing.apply(&input)?;
            }
        }
        Ok(input)
    }
}

impl Step {
    fn apply(&self, picture: Cow<RgbImage>, rng: &mut Rng, preset: &ImageClassification) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        Ok(match self {
            Step::RandomResizedCrop(step) => {
                if width == 0 || height == 0 {
                    return Err(TransformError::EmptyPicture { from: (width, height), to: (0, 0) });
                }
                let region = step.draw(rng, width, height);
                let (width, height) = preset.output_size(width, height);
                RandomResizedCrop::apply(&picture, region, width, height, preset.interpolation)?
            }
            Step::RandomCrop(step) => {
                let at = step.draw(rng);
                step.apply(&picture, at)
            }
            Step::HorizontalFlip(step) => match step.draw(rng) {
                true => flip_horizontally(picture.into_owned()),
                false => picture.into_owned(),
            },
            Step::ColorJitter(step) => {
                step.draw(rng).into_iter().fold(picture.into_owned(), |picture, jitter| jitter.apply(picture))
            }
            Step::TrivialAugment(step) => step.draw(rng)?.apply(picture.into_owned()),
            Step::RandAugment(step) => {
                let operations = step.draw(rng, width, height)?;
                operations
                    .into_iter()
                    .fold(picture.into_owned(), |picture, operation| operation.apply(picture))
            }
        })
    }
}
