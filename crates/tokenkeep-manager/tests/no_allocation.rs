//! A fresh token costs no allocation.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use tokenkeep_core::{Clock, ListStore, OAuthToken, SystemClock, TokenStore};
use tokenkeep_manager::TokenManager;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator that counts is unsafe by its trait")]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[tokio::test]
async fn a_fresh_token_costs_no_allocation() {
    let store = ListStore::new();
    let token = OAuthToken::builder()
        .user_name("alice@example.com")
        .client("test-client-id", "test-client-secret")
        .refresh_token("test-refresh-token")
        .access_token("test-access-token")
        .expiry_time(SystemClock.now().plus(Duration::from_secs(3600)))
        .api_domain("https://www.zohoapis.com")
        .build()
        .unwrap();
    store.save_token(&token).await.unwrap();
    let manager = TokenManager::builder(store).build().unwrap();
    let alice = manager.user("alice@example.com").await.unwrap();
    alice.access_token().await.unwrap();

    let before = allocations();
    for _ in 0..1000 {
        assert!(alice.access_token().await.unwrap().is_saved());
    }
    assert_eq!(allocations() - before, 0);

    // The counter counts.
    let before = allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocations() - before, 1);
}
