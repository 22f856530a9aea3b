//! ImageNet's class names, and the files they belong to.

use super::error::{Result, WeightsError};
use crate::model::Arch;
use std::path::Path;

const IMAGENET: &str = include_str!("../../weights/imagenet_categories.txt");

/// The 1000 class names of ImageNet-1K in torchvision's order and spelling
/// (`DenseNet121_Weights.IMAGENET1K_V1.meta["categories"]`).
pub fn imagenet_categories() -> Vec<String> {
    IMAGENET.lines().map(str::to_string).collect()
}

/// torchvision's weights that go by this file name, now or in earlier releases (`densenet121-a639ec97.pth`,
/// `densenet121-241335ed.pth`): networks of ImageNet's 1000 classes. Of the name alone; the content is not looked at.
pub fn official_file(path: &Path) -> Option<Arch> {
    const FILES: [(&str, Arch); 8] = [
        ("densenet121-a639ec97.pth", Arch::DenseNet121),
        ("densenet161-8d451a50.pth", Arch::DenseNet161),
        ("densenet169-b2777c0a.pth", Arch::DenseNet169),
        ("densenet201-c1103571.pth", Arch::DenseNet201),
        ("densenet121-241335ed.pth", Arch::DenseNet121),
        ("densenet161-17b70270.pth", Arch::DenseNet161),
        ("densenet169-6f0f7f60.pth", Arch::DenseNet169),
        ("densenet201-4c113574.pth", Arch::DenseNet201),
    ];
    let name = path.file_name()?.to_str()?;
    FILES.into_iter().find(|(file, _)| *file == name).map(|(_, arch)| arch)
}

/// A list of class names is empty or has one for each of the classifier's outputs; `name` says whose list it is.
pub(crate) fn check_count(name: &str, categories: &[String], classes: i64) -> Result<()> {
    if categories.is_empty() || categories.len() as i64 == classes {
        return Ok(());
    }
    Err(WeightsError::CategoryCount { name: name.to_string(), categories: categories.len(), classes })
}
