//! The two calls that neither `tch` nor the standard library offer: loading CUDA's half of libtorch, and handing freed
//! memory back to the system.
#![expect(unsafe_code, reason = "dlopen and malloc_trim have no safe interface; each use says why it is sound")]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::device::CudaReport;

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

/// Hands the pages of freed memory back to the system: glibc keeps up to a gigabyte after a run otherwise.
pub(super) fn return_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only touches free chunks of the allocator, under its own locks, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
