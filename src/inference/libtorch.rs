//! What neither `tch` nor the standard library offer: loading CUDA's half of libtorch, and computing in less than single
//! precision.
#![expect(unsafe_code, reason = "dlopen and dlsym have no safe interface; each use says why it is sound")]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tch::Device;

use super::device::CudaReport;
use super::manifest::Precision;

/// Loads `libtorch_cuda.so` where it lies beside the loaded `libtorch_cpu.so`, once per process, and says what was found.
///
/// The binary is linked to the CPU library alone, so that it starts everywhere; libtorch registers CUDA when the other
/// library is loaded, which has to happen before CUDA is first asked for.
pub(super) fn load_cuda() -> CudaReport {
    static REPORT: OnceLock<CudaReport> = OnceLock::new();
    REPORT.get_or_init(find_and_load_cuda).clone()
}

fn find_and_load_cuda() -> CudaReport {
    let beside = loaded_libtorch().map(|library| library.with_file_name("libtorch_cuda.so"));
    let Some(library) = beside.filter(|library| library.is_file()) else {
        return CudaReport { library: None, load_error: None, devices: 0 };
    };
    let load_error = open_for_ever(&library).err();
    let count = if load_error.is_none() { tch::Cuda::device_count() } else { 0 };
    CudaReport { library: Some(library), load_error, devices: usize::try_from(count).unwrap_or(0) }
}

/// The file that the running process has mapped as `libtorch_cpu.so`.
pub(super) fn loaded_libtorch() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mapped = |line: &str| {
        let path = Path::new(line.get(line.find('/')?..)?);
        (path.file_name()? == "libtorch_cpu.so").then(|| path.to_owned())
    };
    maps.lines().find_map(mapped)
}

fn open_for_ever(library: &Path) -> Result<(), String> {
    let path = CString::new(library.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: `path` is a NUL-terminated string that lives over the call. The library's initialisers run, which is what is
    // wanted: they register CUDA with libtorch. It is never closed, so nothing that it registered can dangle.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: dlerror gives NULL or a NUL-terminated string that is valid until the next call on this thread.
    let text = unsafe {
        let error = libc::dlerror();
        if error.is_null() { None } else { Some(CStr::from_ptr(error).to_string_lossy().into_owned()) }
    };
    Err(text.unwrap_or_else(|| "dlopen failed".to_owned()))
}

/// While it lives, the modules of this thread compute in a lower precision where PyTorch's `autocast` does: matrix products
/// and convolutions, not sums and normalisations. Weights and inputs stay as they are; what is made of weights that have gradients
/// is kept until then.
pub(super) struct Autocast {
    /// The kind of device it is on for; `None` where nothing was switched on.
    device: Option<i8>,
}

/// `at::autocast::set_autocast_enabled(c10::DeviceType, bool)`.
const SET_ENABLED: &CStr = c"_ZN2at8autocast20set_autocast_enabledEN3c1010DeviceTypeEb";
/// `at::autocast::set_autocast_dtype(c10::DeviceType, c10::ScalarType)`.
const SET_DTYPE: &CStr = c"_ZN2at8autocast18set_autocast_dtypeEN3c1010DeviceTypeENS1_10ScalarTypeE";

/// `at::autocast::clear_cache()`.
const CLEAR_CACHE: &CStr = c"_ZN2at8autocast11clear_cacheEv";

impl Autocast {
    /// Switches it on, for less than float32.
    ///
    /// # Errors
    /// This libtorch has no such switch.
    pub(super) fn of(precision: Precision, device: Device) -> Result<Self, String> {
        // c10::ScalarType
        let kind: i8 = match precision {
            Precision::Float32 => return Ok(Self { device: None }),
            Precision::Float16 => 5,
            Precision::BFloat16 => 15,
        };
        // c10::DeviceType
        let device: i8 = if device == Device::Cpu { 0 } else { 1 };
        function_of(CLEAR_CACHE)?;
        set_autocast_dtype(device, kind)?;
        set_autocast_enabled(device, true)?;
        Ok(Self { device: Some(device) })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        if let Some(device) = self.device {
            // Both were found when it was switched on.
            let _ = set_autocast_enabled(device, false);
            let _ = clear_autocast_cache();
        }
    }
}

fn set_autocast_enabled(device: i8, enabled: bool) -> Result<(), String> {
    let function = function_of(SET_ENABLED)?;
    // SAFETY: this is the function of libtorch by its mangled name, which holds the types of its arguments: an enumeration
    // of one byte and a bool, and it returns nothing. For the CPU and CUDA it raises nothing; it sets a flag of this thread.
    unsafe {
        let set: extern "C" fn(i8, bool) = std::mem::transmute(function);
        set(device, enabled);
    }
    Ok(())
}

fn set_autocast_dtype(device: i8, kind: i8) -> Result<(), String> {
    let function = function_of(SET_DTYPE)?;
    // SAFETY: as above, with two enumerations of one byte.
    unsafe {
        let set: extern "C" fn(i8, i8) = std::mem::transmute(function);
        set(device, kind);
    }
    Ok(())
}

fn clear_autocast_cache() -> Result<(), String> {
    let function = function_of(CLEAR_CACHE)?;
    // SAFETY: as above, without arguments. It lets go of copies in a table that it locks; who computes with one has it too.
    unsafe {
        let clear: extern "C" fn() = std::mem::transmute(function);
        clear();
    }
    Ok(())
}

/// Waits until a CUDA device has done all that it was given. `tch` offers this too, and panics where the device has failed.
///
/// # Errors
/// What CUDA says. Where it goes on saying so the device is lost to this process.
pub(super) fn synchronize(number: usize) -> Result<(), String> {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    // SAFETY: the first call takes a number and keeps the text of an exception of libtorch for this thread; the second one
    // gives NULL or that text, NUL-terminated and allocated by malloc, which is ours from then on and freed once.
    unsafe {
        torch_sys::cuda::atc_synchronize(number);
        let error = torch_sys::get_and_reset_last_err();
        if error.is_null() {
            return Ok(());
        }
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        Err(text)
    }
}

/// Free and total memory of a CUDA device, bytes; nothing where CUDA's library does not say.
pub(super) fn cuda_memory(number: usize) -> Option<(u64, u64)> {
    let (number, set, ask) =
        (i32::try_from(number).ok()?, function_of(c"cudaSetDevice").ok()?, function_of(c"cudaMemGetInfo").ok()?);
    let (mut free, mut total) = (0usize, 0usize);
    // SAFETY: both are functions of CUDA's runtime with these types; the second writes two sizes to places that live over
    // the call. The device that is set is the one that this thread uses from then on, as libtorch would set it.
    let failed = unsafe {
        let set: extern "C" fn(i32) -> i32 = std::mem::transmute(set);
        let ask: extern "C" fn(*mut usize, *mut usize) -> i32 = std::mem::transmute(ask);
        set(number) != 0 || ask(&raw mut free, &raw mut total) != 0
    };
    if failed { None } else { Some((free as u64, total as u64)) }
}

/// A function of a library that this process has loaded.
fn function_of(name: &CStr) -> Result<*mut libc::c_void, String> {
    // SAFETY: the name is NUL-terminated; dlsym reads it and looks the symbol up.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if function.is_null() {
        Err("this libtorch offers no other precision than float32".to_owned())
    } else {
        Ok(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_weights_that_were_computed_with_in_a_lower_precision() {
        let _guard = tch::no_grad_guard();
        let ones = || tch::Tensor::ones([2, 2], (tch::Kind::Float, Device::Cpu));
        let mut weights = ones().set_requires_grad(true);
        let product = |weights: &tch::Tensor| {
            let _autocast = Autocast::of(Precision::BFloat16, Device::Cpu).unwrap();
            let product = ones().matmul(weights);
            assert_eq!(product.kind(), tch::Kind::BFloat16);
            product.double_value(&[0, 0])
        };
        assert_eq!(product(&weights), 2.0);
        let _ = weights.fill_(3.0);
        assert_eq!(product(&weights), 6.0, "a copy of the weights was kept");
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_no_panic() {
        let error = synchronize(4096).unwrap_err();
        assert!(!error.is_empty() && synchronize(4096).is_err());
    }
}
