//! The allocator, and that memory which was freed goes back to the system although nothing happens any more.
#![allow(unsafe_code)] // the allocator's call has no safe form; the block says why it holds

use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often it is looked at. The allocator keeps freed memory for about as long, in case it is wanted again.
const EVERY: Duration = Duration::from_secs(1);

unsafe extern "C" {
    /// Gives back what has been free for long enough, of all threads; `force`: what has become free just now as well.
    fn mi_collect(force: bool);
}

/// Lets a thread of its own look after freed memory for as long as the process runs. The allocator does so by itself only when
/// a thread asks for memory or frees some: what a checkpoint took, or a great change, would stay until then.
#[expect(clippy::disallowed_methods, reason = "the allocator has a clock of its own, and no result depends on it")]
pub fn give_back() {
    let look_after = || loop {
        std::thread::sleep(EVERY);
        // SAFETY: it may be called at any time by any thread, and touches only memory that nobody has.
        unsafe { mi_collect(false) };
    };
    if let Err(error) = std::thread::Builder::new().name("allocator".to_string()).spawn(look_after) {
        tracing::debug!(%error, "freed memory goes back when memory is next asked for");
    }
}
