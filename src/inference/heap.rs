//! What libtorch takes of the host's memory, asked for before the system gives it. Where memory is overcommitted, as it is by
//! default, the system refuses nothing: it ends the process that has taken the last page.
//!
//! jemalloc, which the binary has in the place of `malloc`, asks functions of ours for each stretch of memory that it takes from
//! the system, and before it uses pages again that it has given back: they tell it that these are not committed any more, as
//! pages are not where a system does not overcommit. A thread that is inside [`asking`] may be refused; every other one gets what
//! it asks for.
#![expect(unsafe_code, reason = "jemalloc has no safe interface; each use says why it is sound")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;

use tikv_jemalloc_sys::{dallocx, extent_alloc_t, extent_hooks_t, extent_purge_t, mallctl, mallocx};

/// Says whether that many bytes may be taken. Must not allocate.
type Asked = fn(usize) -> bool;

thread_local! {
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
    static READY: Cell<bool> = const { Cell::new(false) };
    /// What this thread has used again since it last asked.
    static UNASKED: Cell<usize> = const { Cell::new(0) };
}

/// How jemalloc takes memory from the system by itself.
static TAKE: OnceLock<extent_alloc_t> = OnceLock::new();
/// How it gives pages back; nothing where the system does not overcommit, whose own word is then asked for.
static GIVE: OnceLock<extent_purge_t> = OnceLock::new();
/// jemalloc's own functions, but for ours.
static HOOKS: OnceLock<extent_hooks_t> = OnceLock::new();

/// Of these sizes jemalloc allocates in different arenas: that of the thread, and the one of all that is large.
const SIZES: [usize; 2] = [1 << 20, 1 << 24];

/// Of pages that are used again less than this is not asked for each time: a question takes about as long as to fill a megabyte.
const FEW: usize = 1 << 24;

/// Whole pages, whatever their size.
const PAGES: usize = 1 << 16;

/// Does `call`; what its thread asks of the system meanwhile it gets where `asked` says so. Beyond, allocating fails, which is the
/// end of the process where Rust allocates: `call` goes to another language.
pub(super) fn asking<T>(asked: Asked, call: impl FnOnce() -> T) -> T {
    if !READY.replace(true) {
        SIZES.into_iter().filter_map(arena).for_each(watch);
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

/// Has an arena ask. Where that fails it does not, and all is as it was.
fn watch(arena: c_uint) {
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
    let hooks = HOOKS.get_or_init(|| {
        // jemalloc's own `dalloc` gives nothing back either, unless told to when it is built; to have none spares the attempt.
        let hooks = extent_hooks_t { alloc: Some(ask), dalloc: None, ..own };
        match own.purge_forced.filter(|_| overcommits(own, arena)) {
            None => hooks,
            Some(give) => {
                GIVE.get_or_init(|| give);
                extent_hooks_t { commit: Some(use_again), decommit: Some(give_back), ..hooks }
            }
        }
    });
    let mut table = ptr::from_ref(hooks).cast_mut();
    // SAFETY: the name ends with NUL; the value is a pointer to a table that lives as long as the process and is only read. Its
    // functions are the arena's own, but for three: `ask` gives what the arena's own gives; `give_back` empties pages, and says that
    // they are not committed; `use_again` has nothing to commit of them, for they can be written to as they are, and hold zeros.
    unsafe {
        mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), (&raw mut table).cast(), size_of_val(&table));
    }
}

/// Whether the system gives jemalloc pages that need not be committed before they are used.
fn overcommits(mut own: extent_hooks_t, arena: c_uint) -> bool {
    let (Some(take), Some(destroy)) = (own.alloc, own.destroy) else { return false };
    let (mut zero, mut commit) = (false, false);
    // SAFETY: both are called as jemalloc calls them: with whole pages, and with a table and flags that live over the call. What was
    // taken is never written to, and destroyed once.
    unsafe {
        let pages = take(&raw mut own, ptr::null_mut(), PAGES, PAGES, &raw mut zero, &raw mut commit, arena);
        if pages.is_null() {
            return false;
        }
        destroy(&raw mut own, pages, PAGES, commit, arena);
    }
    commit
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
    let Some(take) = TAKE.get() else { return ptr::null_mut() };
    // SAFETY: called as it would be without us; `commit` is jemalloc's, for this call. What it is changed to holds of pages that can
    // be used at once, too: that they are to be committed first.
    unsafe {
        let wanted = *commit;
        let taken = take(hooks, at, size, alignment, zero, commit, arena);
        if GIVE.get().is_some() {
            *commit = wanted;
        }
        taken
    }
}

/// Has jemalloc use pages, again or for the first time, where that is allowed. They need nothing for it.
unsafe extern "C" fn use_again(
    _: *mut extent_hooks_t,
    _: *mut c_void,
    _: usize,
    _: usize,
    length: usize,
    _: c_uint,
) -> bool {
    let Some(asked) = ASKED.get() else { return false };
    let unasked = UNASKED.get().saturating_add(length);
    if unasked < FEW {
        UNASKED.set(unasked);
        return false;
    }
    let refused = !asked(length);
    if !refused {
        UNASKED.set(0);
    }
    refused
}

/// Gives pages back as jemalloc does it itself, which then has to ask before it uses them again.
unsafe extern "C" fn give_back(
    hooks: *mut extent_hooks_t,
    at: *mut c_void,
    size: usize,
    offset: usize,
    length: usize,
    arena: c_uint,
) -> bool {
    // SAFETY: called as it would be without us.
    GIVE.get().is_none_or(|give| unsafe { give(hooks, at, size, offset, length, arena) })
}

#[cfg(test)]
mod tests {
    use std::ffi::c_int;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tikv_jemalloc_sys::{MALLOCX_ARENA, MALLOCX_TCACHE_NONE, MALLOCX_ZERO};

    use super::*;

    const LARGE: usize = 1 << 26;

    static QUESTIONS: AtomicUsize = AtomicUsize::new(0);

    fn counted(_: usize) -> bool {
        QUESTIONS.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How often `call` asks.
    fn questions<T>(call: impl FnOnce() -> T) -> (usize, T) {
        let before = QUESTIONS.load(Ordering::Relaxed);
        let found = call();
        (QUESTIONS.load(Ordering::Relaxed) - before, found)
    }

    /// An arena in which nothing else is allocated.
    struct Arena(c_uint);

    impl Arena {
        fn new() -> Self {
            let mut arena: c_uint = 0;
            let mut length = size_of_val(&arena);
            let name = c"arenas.create".as_ptr();
            // SAFETY: the name ends with NUL; a number of this type and its size are written to places that live over the call.
            let failed = unsafe { mallctl(name, (&raw mut arena).cast(), &raw mut length, ptr::null_mut(), 0) };
            assert_eq!(failed, 0);
            watch(arena);
            Self(arena)
        }

        fn flags(&self) -> c_int {
            MALLOCX_ARENA(self.0 as usize) | MALLOCX_TCACHE_NONE
        }

        /// Zeros, or nothing.
        fn take(&self, asked: Asked, size: usize) -> *mut c_void {
            // SAFETY: the size is not 0.
            asking(asked, || unsafe { mallocx(size, self.flags() | MALLOCX_ZERO) })
        }

        /// Back to the arena, and from there to the system.
        fn give(&self, blocks: &[*mut c_void]) {
            let name = CString::new(format!("arena.{}.purge", self.0)).unwrap();
            // SAFETY: the blocks are of this arena, and nobody uses them any more; the name ends with NUL, and has no value.
            unsafe {
                blocks.iter().for_each(|block| dallocx(*block, self.flags()));
                let nothing = ptr::null_mut();
                assert_eq!(mallctl(name.as_ptr(), nothing, ptr::null_mut(), nothing, 0), 0);
            }
        }
    }

    #[test]
    fn what_was_given_back_is_asked_for_before_it_is_used_again() {
        let arena = Arena::new();
        if GIVE.get().is_none() {
            // This system refuses by itself.
            return;
        }
        let (asked, first) = questions(|| arena.take(counted, LARGE));
        assert!(asked > 0 && !first.is_null());
        // SAFETY: as many bytes were allocated.
        unsafe { ptr::write_bytes(first.cast::<u8>(), 1, LARGE) };
        arena.give(&[first]);
        let (asked, again) = questions(|| arena.take(counted, LARGE));
        assert!(asked == 1 && !again.is_null(), "{asked}: by more than one question it is taken anew");
        // SAFETY: as many bytes were allocated and made zeros.
        assert!(unsafe { std::slice::from_raw_parts(again.cast::<u8>(), LARGE) }.iter().all(|byte| *byte == 0));
        arena.give(&[again]);
        assert!(arena.take(|_| false, LARGE).is_null());
        let (asked, pieces) = questions(|| [(); 8].map(|()| arena.take(counted, 1 << 20)));
        assert!(asked == 0 && pieces.iter().all(|piece| !piece.is_null()), "few are not asked for");
        let (asked, more) = questions(|| [(); 24].map(|()| arena.take(counted, 1 << 20)));
        assert!(asked == 1 || asked == 2, "{asked}");
        arena.give(&[&pieces[..], &more[..]].concat());
        // SAFETY: the size is not 0.
        assert!(!unsafe { mallocx(LARGE, arena.flags()) }.is_null(), "who does not ask gets it");
    }
}
