//! Files that are often given as weights and are not: what they are and the way out.

/// A file that was recognized by its content and is not a checkpoint this crate reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignFile {
    /// Zero bytes.
    Empty,
    /// Too few bytes for any checkpoint.
    TooShort {
        /// Its length.
        bytes: u64,
    },
    /// A folder.
    Directory,
    /// A pipe, socket or device.
    Special,
    /// The text that Git LFS leaves in place of a file.
    GitLfsPointer,
    /// A saved web page.
    WebPage,
    /// ONNX.
    Onnx,
    /// HDF5, most often Keras weights.
    Hdf5,
    /// A Keras 3 archive.
    Keras,
    /// A TensorFlow SavedModel.
    TensorFlow,
    /// TorchScript that was frozen: the names are gone.
    FrozenTorchScript,
    /// TorchScript of torch 1.0 and 1.1.
    OldTorchScript,
    /// torch.export or AOTInductor (`.pt2`).
    ExportedProgram,
    /// The preview archive of torch 1.0.
    PreviewArchive,
    /// NumPy arrays: `.npz`.
    Npz,
    /// A NumPy array: `.npy`.
    Npy,
    /// gzip.
    Gzip,
    /// 7-Zip.
    SevenZip,
    /// torch's tar format of versions up to 0.1.9.
    TorchTar,
    /// Another tar.
    Tar,
    /// Lua Torch.
    LuaTorch,
    /// A picture.
    Picture {
        /// Its format.
        format: &'static str,
    },
    /// A zip archive without a checkpoint in it.
    OtherZip {
        /// The first member's name.
        first: String,
    },
    /// A zip archive of several checkpoint files.
    ZippedCheckpoints {
        /// How many.
        count: usize,
        /// The first one's name.
        first: String,
    },
    /// A pickle that torch.save did not write.
    BarePickle {
        /// What its top object is.
        top: String,
    },
    /// None of the above.
    Unknown,
}

impl std::fmt::Display for ForeignFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resave = "load it in Python and save the weights with torch.save(model.state_dict(), path)";
        match self {
            Self::Empty => f.write_str("the file is empty; copy or download it again"),
            Self::TooShort { bytes } => {
                write!(f, "the file has {bytes} bytes, too few for a checkpoint; copy or download it again")
            }
            Self::Directory => f.write_str("this is a directory; name the weights file inside it"),
            Self::Special => f.write_str("this is not a regular file; copy its content to one first"),
            Self::GitLfsPointer => f.write_str("this is a Git LFS pointer, not the file itself; run `git lfs pull`"),
            Self::WebPage => f.write_str("this is a web page, not a checkpoint; download the raw file"),
            Self::Onnx => write!(f, "this is an ONNX model, whose weights may be fused and renamed; {resave} instead"),
            Self::Hdf5 => f.write_str(
                "this is HDF5 (Keras weights, most likely), whose kernels and epsilon differ; convert it in Python",
            ),
            Self::Keras => f.write_str("this is a Keras archive; convert its weights to a PyTorch state dict in Python"),
            Self::TensorFlow => f.write_str("this is a TensorFlow SavedModel; convert it to a PyTorch state dict in Python"),
            Self::FrozenTorchScript => f.write_str(
                "this is frozen TorchScript, which has no parameter names left; export it without freezing",
            ),
            Self::OldTorchScript => write!(f, "this is TorchScript of torch 1.0 or 1.1; {resave}"),
            Self::ExportedProgram => write!(f, "this is a torch.export or AOTInductor package (.pt2); {resave}"),
            Self::PreviewArchive => write!(f, "this is the preview archive of torch 1.0; {resave}"),
            Self::Npz => write!(f, "this is a NumPy .npz; {}", NUMPY),
            Self::Npy => write!(f, "this is a NumPy .npy; {}", NUMPY),
            Self::Gzip => f.write_str("this is gzip data; decompress it with gunzip first"),
            Self::SevenZip => f.write_str("this is a 7-Zip archive; extract it first"),
            Self::TorchTar => write!(f, "this is the tar format of torch 0.1.9 and older; {resave}"),
            Self::Tar => f.write_str("this is a tar archive; extract it first"),
            Self::LuaTorch => f.write_str("this is a Lua Torch file (.t7); convert it to a PyTorch state dict in Python"),
            Self::Picture { format } => write!(f, "this is a {format} picture, not a checkpoint"),
            Self::OtherZip { first } => {
                write!(f, "this is a zip archive without a checkpoint in it (its first member is {first:?})")
            }
            Self::ZippedCheckpoints { count, first } => write!(
                f,
                "this is a zip archive of checkpoint files ({count}, an ensemble perhaps): extract it and open one of \
                 them, such as {first:?}"
            ),
            Self::BarePickle { top } => {
                write!(f, "this is a pickle that torch.save did not write (its top object is {top}); {resave}")
            }
            Self::Unknown => write!(f, "this is not a checkpoint: neither torch.save, TorchScript, safetensors nor tch wrote it"),
        }
    }
}

const NUMPY: &str = "load it in Python, turn the arrays into tensors and save them with torch.save";
