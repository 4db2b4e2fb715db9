//! The allocator of the process, and when it gives back what was freed.
//!
//! Each thread has pages of its own, and keeps those that are empty for what it will ask for next. Who has made a hundred
//! megabytes of buffers for a checkpoint, and waits for the next one, would keep them for nothing.

use libmimalloc_sys::mi_collect;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives the system back what the calling thread has freed, and what others have that has come to lie in whole pages.
pub fn give_back() {
    // SAFETY: it takes no pointer, and may be called at any time on any thread.
    #[allow(unsafe_code, reason = "the allocator offers it to C alone")]
    unsafe {
        mi_collect(true);
    }
}
