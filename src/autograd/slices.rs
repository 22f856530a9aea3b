//! f32 tensors on the CPU as slices, for kernels of our own.

use tch::{Device, Kind, TchError, Tensor};

/// The numbers of a contiguous f32 tensor on the CPU; `None` for any other.
pub(crate) fn f32_slice(tensor: &Tensor) -> Option<&[f32]> {
    let fits = tensor.defined()
        && tensor.kind() == Kind::Float
        && tensor.device() == Device::Cpu
        && tensor.is_contiguous();
    if !fits {
        return None;
    }
    let numbers = tensor.numel();
    if numbers == 0 {
        return Some(&[]);
    }
    // SAFETY: a contiguous f32 tensor in memory has `numel` f32 from its data pointer on, which live as long as the tensor
    // is borrowed. Nothing writes to them meanwhile: the callers' tensors are inputs and saved tensors of a pass under way,
    // which autograd's own functions read by the same rule.
    Some(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), numbers) })
}

/// A new f32 tensor that nobody else has yet, to be filled.
#[derive(Debug)]
pub(crate) struct Buffer {
    tensor: Tensor,
    numbers: usize,
}

impl Buffer {
    /// Its numbers are whatever the memory held.
    pub(crate) fn new(size: &[i64]) -> Result<Buffer, TchError> {
        let tensor = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
        let numbers = tensor.numel();
        Ok(Buffer { tensor, numbers })
    }

    /// To write.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        if self.numbers == 0 {
            return &mut [];
        }
        // SAFETY: `new` made a contiguous f32 tensor of so many numbers in memory; it is private, so that the exclusive
        // borrow of `self` is one of the numbers. (`f_empty`'s memory comes from malloc: any bits are an f32.)
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast(), self.numbers) }
    }

    /// To read.
    pub(crate) fn as_slice(&self) -> &[f32] {
        f32_slice(&self.tensor).unwrap_or_default()
    }

    /// Runs tensor operations on it, which may write.
    pub(crate) fn with_tensor<R>(&mut self, body: impl FnOnce(&mut Tensor) -> R) -> R {
        body(&mut self.tensor)
    }

    /// To hand out.
    pub(crate) fn into_tensor(self) -> Tensor {
        self.tensor
    }
}
