//! An allocator that counts what it is asked for.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Whether bytes are counted. What is timed does without.
static WEIGHING: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
pub(crate) struct Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written otherwise")]
// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        weigh(layout.size(), 0);
        // SAFETY: the caller's promises are the ones that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        weigh(0, layout.size());
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        weigh(new_size, layout.size());
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// How often memory was allocated so far, by all threads.
pub(crate) fn so_far() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

fn weigh(taken: usize, given_back: usize) {
    if WEIGHING.load(Ordering::Relaxed) {
        BYTES.fetch_add(taken as i64 - given_back as i64, Ordering::Relaxed);
    }
}

/// Weighs what is allocated from its beginning on. One at a time.
///
/// It counts the bytes that were asked for, not what the system's allocator adds to each piece.
#[derive(Debug)]
pub(crate) struct Scales(());

impl Scales {
    pub(crate) fn new() -> Self {
        BYTES.store(0, Ordering::Relaxed);
        let others = WEIGHING.swap(true, Ordering::Relaxed);
        assert!(!others, "there is one pair of scales");
        Self(())
    }

    /// How many bytes more are in use, by all threads, than when it began.
    #[expect(clippy::unused_self, reason = "nothing is weighed without")]
    pub(crate) fn bytes(&self) -> i64 {
        BYTES.load(Ordering::Relaxed)
    }
}

impl Drop for Scales {
    fn drop(&mut self) {
        WEIGHING.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn what_is_held_is_weighed_and_what_is_let_go_is_not() {
        let held = black_box(vec![0_u8; 1_000_000]);
        let scales = Scales::new();
        let mut more = black_box(vec![0_u8; 3_000_000]);
        // Other tests run in other threads: they hold much less.
        let mega = |bytes: i64| (bytes as f64 / 1e6).round() as i64;
        assert_eq!(mega(scales.bytes()), 3);
        more.reserve_exact(4_000_000);
        assert_eq!(mega(scales.bytes()), 7);
        drop(more);
        assert_eq!(mega(scales.bytes()), 0);
        drop(held);
        assert_eq!(mega(scales.bytes()), -1);
    }
}
