//! What libtorch takes of the host's memory, asked for before the system gives it. Where memory is overcommitted, as it is by
//! default, the system refuses nothing: it ends the process that has taken the last page.
//!
//! jemalloc, which the binary has in the place of `malloc`, asks a function of ours for each stretch of memory that it takes from
//! the system. A thread that is inside [`asking`] may be refused; every other one gets what it asks for.
#![expect(unsafe_code, reason = "jemalloc has no safe interface; each use says why it is sound")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;

use tikv_jemalloc_sys::{dallocx, extent_alloc_t, extent_hooks_t, mallctl, mallocx};

/// Says whether that many bytes may be taken. Must not allocate.
type Asked = fn(usize) -> bool;

thread_local! {
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
    static READY: Cell<bool> = const { Cell::new(false) };
}

/// How jemalloc takes memory from the system by itself.
static TAKE: OnceLock<extent_alloc_t> = OnceLock::new();
/// jemalloc's own functions, but for the first.
static HOOKS: OnceLock<extent_hooks_t> = OnceLock::new();

/// Of these sizes jemalloc allocates in different arenas: that of the thread, and the one of all that is large.
const SIZES: [usize; 2] = [1 << 20, 1 << 24];

/// Does `call`; what its thread asks of the system meanwhile it gets where `asked` says so. Beyond, allocating fails, which is the
/// end of the process where Rust allocates: `call` goes to another language.
pub(super) fn asking<T>(asked: Asked, call: impl FnOnce() -> T) -> T {
    if !READY.replace(true) {
        SIZES.into_iter().for_each(watch);
    }
    let _end = End(ASKED.replace(Some(asked)));
    call()
}

/// Puts back what was asked before.
struct End(Option<Asked>);

impl Drop for End {
    fn drop(&mut self) {
        ASKED.set(self.0);
    }
}

/// Has the arena in which this thread allocates `size` bytes ask. Where that fails it does not, and all is as it was.
fn watch(size: usize) {
    let Some(arena) = arena(size) else { return };
    let Ok(name) = CString::new(format!("arena.{arena}.extent_hooks")) else { return };
    let mut own: *mut extent_hooks_t = ptr::null_mut();
    if !get(&name, &mut own) || own.is_null() {
        return;
    }
    // SAFETY: jemalloc gave the table of an arena; such tables are never changed and live as long as the process.
    let own = unsafe { *own };
    let Some(take) = own.alloc else { return };
    if ptr::fn_addr_eq(take, ask as extent_alloc_t) {
        return;
    }
    TAKE.get_or_init(|| take);
    // jemalloc's own `dalloc` gives nothing back either, unless told to when it is built; to have none spares the attempt.
    let hooks = HOOKS.get_or_init(|| extent_hooks_t { alloc: Some(ask), dalloc: None, ..own });
    let mut table = ptr::from_ref(hooks).cast_mut();
    // SAFETY: the name ends with NUL; the value is a pointer to a table that lives as long as the process and is only read. All its
    // functions but the first are the arena's own, and the first gives what the arena's own gives.
    unsafe {
        mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), (&raw mut table).cast(), size_of_val(&table));
    }
}

/// The number of the arena in which this thread allocates `size` bytes.
fn arena(size: usize) -> Option<c_uint> {
    // SAFETY: the size is not 0; what is allocated is never written to, and freed once.
    let mut block = unsafe { mallocx(size, 0) };
    if block.is_null() {
        return None;
    }
    let mut arena: c_uint = 0;
    let mut length = size_of_val(&arena);
    // SAFETY: the name ends with NUL; a number of this type and its size are written to places that live over the call, and a
    // pointer that jemalloc gave is read from one.
    let failed = unsafe {
        mallctl(
            c"arenas.lookup".as_ptr(),
            (&raw mut arena).cast(),
            &raw mut length,
            (&raw mut block).cast(),
            size_of_val(&block),
        )
    };
    // SAFETY: as above.
    unsafe { dallocx(block, 0) };
    (failed == 0).then_some(arena)
}

/// Reads a value of jemalloc's, which has the type that is asked for.
fn get(name: &CStr, value: &mut *mut extent_hooks_t) -> bool {
    let mut length = size_of_val(value);
    // SAFETY: the name ends with NUL; a pointer and its size are written to places that live over the call.
    unsafe { mallctl(name.as_ptr(), ptr::from_mut(value).cast(), &raw mut length, ptr::null_mut(), 0) == 0 }
}

/// As jemalloc takes memory itself, where that is allowed.
unsafe extern "C" fn ask(
    hooks: *mut extent_hooks_t,
    at: *mut c_void,
    size: usize,
    alignment: usize,
    zero: *mut bool,
    commit: *mut bool,
    arena: c_uint,
) -> *mut c_void {
    if ASKED.get().is_some_and(|asked| !asked(size)) {
        return ptr::null_mut();
    }
    // SAFETY: called as it would be without us.
    TAKE.get().map_or(ptr::null_mut(), |take| unsafe { take(hooks, at, size, alignment, zero, commit, arena) })
}
