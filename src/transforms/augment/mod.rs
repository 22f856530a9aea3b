//! Augmentation: pictures changed by chance before they are learned from.
//!
//! Every change has two halves: what is drawn (plain data) and what is done with it (a function of the data). The second
//! half equals torchvision's on PIL images to the bit; the first one has torchvision's distributions, on numbers of
//! [`Draw`](super::Draw), so that a picture of an epoch is the same for any number of workers and after `--resume`.
//!
//! - [`Augment`]: a recipe, as data; [`Augment::named`] has the usual ones.
//! - [`RandomResizedCrop`], [`RandomCrop`], [`HorizontalFlip`], [`ColorJitter`], [`TrivialAugment`], [`RandAugment`]: of
//!   one picture. [`RandomErasing`]: of one network input. [`Mixing`]: of a batch.
//! - [`color`], [`levels`], [`warp`]: what these do, as functions of pictures.
//!
//! Sources: `torchvision/transforms/transforms.py`, `autoaugment.py`, `v2/_augment.py`, and Pillow's `ImageEnhance`,
//! `ImageOps` and `Image.transform`.

pub mod color;
mod crop;
mod erase;
mod jitter;
pub mod levels;
mod mix;
mod policy;
mod recipe;
pub mod warp;

pub use crop::{crop, flip_horizontally, HorizontalFlip, PaddedCrop, RandomCrop, RandomResizedCrop, Region};
pub use erase::{Erasing, RandomErasing};
pub use jitter::{ColorJitter, Jitter};
pub use mix::{Mix, Mixing};
pub use policy::{Operation, RandAugment, TrivialAugment};
pub use recipe::{Augment, Step};

use super::{Result, TransformError};

/// The error of a recipe whose numbers make no sense.
fn refuse<T>(
    step: &'static str,
    field: &'static str,
    value: impl std::fmt::Debug,
    reason: &'static str,
) -> Result<T> {
    Err(TransformError::Augmentation { step, field, value: format!("{value:?}"), reason })
}

/// A probability is a number from 0 to 1.
fn check_probability(step: &'static str, p: f64) -> Result<()> {
    match (0.0..=1.0).contains(&p) {
        true => Ok(()),
        false => refuse(step, "p", p, "a probability is from 0 to 1"),
    }
}

/// A range of positive numbers.
fn check_range(step: &'static str, field: &'static str, [low, high]: [f64; 2]) -> Result<()> {
    match low > 0.0 && low <= high && high.is_finite() {
        true => Ok(()),
        false => refuse(step, field, [low, high], "must be two positive numbers, the smaller first"),
    }
}
