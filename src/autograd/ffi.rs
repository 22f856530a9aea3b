//! The raw layer: the shim's entries, their results as `Result`, and the guard around everything it calls.

use super::error::{AutogradError, Pass, Result};
use std::any::Any;
use std::ffi::{c_char, c_void, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use tch::Tensor;
use torch_sys::C_tensor;

/// The shim's `Failure`.
#[repr(C)]
pub(super) struct Failure {
    message: *mut c_char,
    rust: *mut c_void,
    a: i64,
    b: i64,
}

/// The shim's `Raised`.
#[repr(C)]
pub(super) struct Raised {
    error: *mut c_void,
    message: *const c_char,
}

/// The shim's `Name`: a `&'static str`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Name {
    data: *const u8,
    length: usize,
}

/// The shim's `Callbacks`.
#[repr(C)]
pub(super) struct Callbacks {
    pub(super) backward: unsafe extern "C" fn(
        state: *mut c_void,
        node: *mut c_void,
        grads: *const *mut C_tensor,
        grad_count: usize,
        out: *mut *mut C_tensor,
        out_count: usize,
    ) -> Raised,
    pub(super) differentiated_twice: unsafe extern "C" fn(Name) -> Raised,
    pub(super) reentered: unsafe extern "C" fn(Name) -> Raised,
    pub(super) drop_state: unsafe extern "C" fn(*mut c_void),
    pub(super) drop_error: unsafe extern "C" fn(*mut c_void),
}

/// The shim's `Recipe`.
#[repr(C)]
pub(super) struct Recipe {
    pub(super) make: unsafe extern "C" fn(state: *mut c_void, out: *mut *mut C_tensor) -> Raised,
    pub(super) drop_state: unsafe extern "C" fn(*mut c_void),
    pub(super) drop_error: unsafe extern "C" fn(*mut c_void),
}

/// The shim's `Autocast`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Autocast {
    pub(super) enabled: bool,
    pub(super) dtype: i32,
}

extern "C" {
    fn dn_free_message(message: *mut c_char);
    pub(super) fn dn_node_begin(
        function: Name,
        once: bool,
        callbacks: *const Callbacks,
        inputs: *const *mut C_tensor,
        input_count: usize,
        node: *mut *mut c_void,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_node_discard(node: *mut c_void, failure: *mut Failure) -> i32;
    pub(super) fn dn_node_finish(
        node: *mut c_void,
        state: *mut c_void,
        inputs: *const *mut C_tensor,
        input_count: usize,
        outputs: *const *mut C_tensor,
        output_count: usize,
        constants: *const *mut C_tensor,
        constant_count: usize,
        saved: *const *mut C_tensor,
        saved_count: usize,
        results: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_node_needs_input(node: *const c_void, index: usize, in_backward: bool) -> bool;
    pub(super) fn dn_node_saved_count(node: *const c_void) -> usize;
    pub(super) fn dn_node_saved(
        node: *mut c_void,
        index: usize,
        result: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_node_zeros(
        node: *const c_void,
        index: usize,
        result: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_grad_mode() -> bool;
    pub(super) fn dn_backward(
        outputs: *const *mut C_tensor,
        grads: *const *mut C_tensor,
        count: usize,
        retain_graph: bool,
        create_graph: bool,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_grad(
        outputs: *const *mut C_tensor,
        grads: *const *mut C_tensor,
        count: usize,
        inputs: *const *mut C_tensor,
        input_count: usize,
        retain_graph: bool,
        create_graph: bool,
        allow_unused: bool,
        results: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_kept_replace(
        output: *const C_tensor,
        which: i32,
        recipe: *const Recipe,
        state: *mut c_void,
        replaced: *mut bool,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_batch_statistics(
        output: *const C_tensor,
        results: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_version(tensor: *const C_tensor, version: *mut i64, failure: *mut Failure) -> i32;
    pub(super) fn dn_convolution_backward(
        grad: *const C_tensor,
        input: *const C_tensor,
        weight: *const C_tensor,
        stride: *const i64,
        padding: *const i64,
        dilation: *const i64,
        groups: i64,
        wanted: *const bool,
        results: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_native_batch_norm_backward(
        grad: *const C_tensor,
        input: *const C_tensor,
        weight: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        mean: *const C_tensor,
        invstd: *const C_tensor,
        train: bool,
        eps: f64,
        wanted: *const bool,
        results: *mut *mut C_tensor,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_autocast_get(device_type: i8, now: *mut Autocast, failure: *mut Failure) -> i32;
    pub(super) fn dn_autocast_set(device_type: i8, wanted: Autocast, failure: *mut Failure) -> i32;
    pub(super) fn dn_autocast_enter(failure: *mut Failure) -> i32;
    pub(super) fn dn_autocast_leave(failure: *mut Failure) -> i32;
    pub(super) fn dn_memory_start(
        guard: *mut *mut c_void,
        counter: *mut *const c_void,
        failure: *mut Failure,
    ) -> i32;
    pub(super) fn dn_memory_stop(guard: *mut c_void);
    pub(super) fn dn_memory_live(counter: *const c_void) -> i64;
    pub(super) fn dn_memory_peak(counter: *const c_void) -> i64;
    pub(super) fn dn_memory_restart_peak(counter: *mut c_void);
    pub(super) fn dn_num_threads() -> usize;
    pub(super) fn dn_parallel(
        tasks: usize,
        body: unsafe extern "C" fn(context: *mut c_void, task: usize),
        context: *mut c_void,
        failure: *mut Failure,
    ) -> i32;
}

impl Name {
    pub(super) fn of(name: &'static str) -> Name {
        Name { data: name.as_ptr(), length: name.len() }
    }

    /// # Safety
    /// `self` came from [`Name::of`].
    pub(super) unsafe fn get(self) -> &'static str {
        // SAFETY: `of` took pointer and length from a `&'static str`, which is never freed or written.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(self.data, self.length)) }
    }
}

/// What the shim reports with a non-zero code, before the safe layer gives it a name.
pub(super) enum Fault {
    /// An exception of libtorch's.
    Torch(String),
    /// An error that came from Rust in the first place.
    Rust(Box<AutogradError>),
    SavedChanged {
        saved: i64,
        now: i64,
    },
    Released,
    InputChanged {
        index: usize,
    },
    NotAnOutput {
        index: usize,
    },
    RepeatedOutput {
        index: usize,
    },
}

impl Fault {
    /// The error, where the fault can only be libtorch's or Rust's.
    pub(super) fn plain(self) -> AutogradError {
        match self {
            Fault::Rust(error) => *error,
            Fault::Torch(message) => AutogradError::Torch { message },
            Fault::SavedChanged { .. }
            | Fault::Released
            | Fault::InputChanged { .. }
            | Fault::NotAnOutput { .. }
            | Fault::RepeatedOutput { .. } => AutogradError::Torch {
                message: "a saved tensor's state was reported out of place".to_string(),
            },
        }
    }
}

/// Calls an entry of the shim with a `Failure` to fill, and reads its result.
pub(super) fn call(entry: impl FnOnce(*mut Failure) -> i32) -> std::result::Result<(), Fault> {
    let mut failure = Failure { message: ptr::null_mut(), rust: ptr::null_mut(), a: 0, b: 0 };
    let code = entry(&mut failure);
    if code == 0 {
        return Ok(());
    }
    let message = if failure.message.is_null() {
        "libtorch gave no message (out of memory?)".to_string()
    } else {
        // SAFETY: a non-null message is a C string that the shim allocated for us (`copied`); it is read, then freed, once.
        unsafe {
            let words = CStr::from_ptr(failure.message).to_string_lossy().into_owned();
            dn_free_message(failure.message);
            words
        }
    };
    let index = usize::try_from(failure.a).unwrap_or(usize::MAX);
    Err(match code {
        2 => {
            // SAFETY: with kRust, `rust` is the `error` of a `Raised`, taken out of its exception: the only pointer to
            // the box that `raise` leaked.
            let carried = unsafe { Box::from_raw(failure.rust.cast::<Carried>()) };
            Fault::Rust(Box::new(carried.error))
        }
        3 => Fault::SavedChanged { saved: failure.a, now: failure.b },
        4 => Fault::Released,
        5 => Fault::InputChanged { index },
        6 => Fault::NotAnOutput { index },
        7 => Fault::RepeatedOutput { index },
        _ => Fault::Torch(message),
    })
}

/// An error on its way through C++, with the words that a C++ catcher sees.
struct Carried {
    error: AutogradError,
    message: CString,
}

impl Raised {
    pub(super) const NONE: Raised = Raised { error: ptr::null_mut(), message: ptr::null() };
}

/// Gives an error to C++.
pub(super) fn raise(error: AutogradError) -> Raised {
    // The whole chain: tch's `backward` shows these words alone.
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words += &format!(": {cause}");
        source = cause.source();
    }
    let message = CString::new(words.replace('\0', " ")).unwrap_or_default();
    let carried = Box::new(Carried { error, message });
    let message = carried.message.as_ptr();
    Raised { error: Box::into_raw(carried).cast(), message }
}

/// Frees an error that nobody took.
pub(super) unsafe extern "C" fn drop_error(error: *mut c_void) {
    // SAFETY: C++ passes the `error` of a `Raised` that it did not hand back, once.
    let carried = unsafe { Box::from_raw(error.cast::<Carried>()) };
    dropped(carried);
}

/// Runs what C++ calls: nothing unwinds into it. A panic is an error of `function` with the panic's words.
pub(super) fn guard<T>(function: &'static str, pass: Pass, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // The state is not looked at again after a panic, except by the function's own code.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let message = panic_words(payload.as_ref());
        dropped(payload);
        Err(AutogradError::Panicked { function, pass, message })
    })
}

/// Drops a value whose destructor may panic, which must not reach C++.
pub(super) fn dropped<T>(value: T) {
    // A panic's payload may itself panic when dropped: that one is forgotten.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(payload);
    }
}

/// The words of a panic.
pub(super) fn panic_words(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_string())
}

/// The `at::Tensor *` of each tensor, null for `None`; valid as long as the tensors are.
pub(super) fn pointers<'a>(tensors: impl IntoIterator<Item = Option<&'a Tensor>>) -> Vec<*mut C_tensor> {
    // C++ only reads through them.
    tensors.into_iter().map(|tensor| tensor.map_or(ptr::null_mut(), pointer)).collect()
}

pub(super) fn pointer(tensor: &Tensor) -> *mut C_tensor {
    tensor.as_ptr().cast_mut()
}

/// Takes the tensors that the shim gave: null is `None`.
///
/// # Safety
/// Each pointer is null or an `at::Tensor *` that C++ allocated with `new` and handed over.
pub(super) unsafe fn taken(pointers: Vec<*mut C_tensor>) -> Vec<Option<Tensor>> {
    let owned = |pointer: *mut C_tensor| {
        NonNull::new(pointer)
            // SAFETY: the caller hands over each pointer once; tch frees it with `delete` (at_free).
            .map(|pointer| unsafe { Tensor::from_ptr(pointer.as_ptr()) })
    };
    pointers.into_iter().map(owned).collect()
}

/// Gives a tensor to C++.
pub(super) fn given(tensor: Tensor) -> *mut C_tensor {
    std::mem::ManuallyDrop::new(tensor).as_mut_ptr()
}
