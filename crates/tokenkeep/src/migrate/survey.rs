//! [`Filter`]: which values have been seen, in memory that does not grow; [`Pages`]: a store page
//! by page; [`each`]: all of it at one look.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::{future, task::AtomicWaker};
use tokenkeep_core::{
    BulkStore, Columns, Entries, Entry, OAuthToken, StoreError, TokenId, TokenState, matching::KEYS,
};

/// The words of a filter: 16 MiB. With the values of a million tokens it is wrong once in a
/// thousand times.
const WORDS: usize = 1 << 21;

/// Hashes of the values that tell tokens apart, under a key of this run.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    /// What `token` may have in common with another one: id, user, and its three tokens.
    pub(super) fn of(&self, token: &OAuthToken) -> [Option<u64>; KEYS.len()] {
        self.of_columns(&token.expose_columns())
    }

    /// The same for the ten columns of a token.
    pub(super) fn of_columns(&self, columns: &Columns<'_>) -> [Option<u64>; KEYS.len()] {
        KEYS.map(|field| Some(self.0.hash_one((field, columns[field as usize].as_deref()?))))
    }
}

/// A Bloom filter: it may say of a value that it has been seen though it has not, never the other
/// way round.
#[derive(Debug)]
pub(super) struct Filter(Vec<u64>);

impl Filter {
    pub(super) fn new() -> Self {
        Self(vec![0; WORDS])
    }

    /// Whether it was there already, perhaps.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        let (word, bits) = Self::place(hash);
        let seen = self.0[word] & bits == bits;
        self.0[word] |= bits;
        seen
    }

    pub(super) fn has(&self, hash: u64) -> bool {
        let (word, bits) = Self::place(hash);
        self.0[word] & bits == bits
    }

    /// Four bits of one word, so that a look costs one access to memory.
    fn place(hash: u64) -> (usize, u64) {
        let bit = |at: u32| 1_u64 << (hash >> at & 63);
        let word = usize::try_from(hash & (WORDS as u64 - 1)).unwrap_or_default();
        (word, bit(22) | bit(32) | bit(42) | bit(52))
    }
}

/// What is in the source more than once, as far as its values tell.
#[derive(Debug)]
pub(super) struct Shared {
    seen: Filter,
    shared: HashSet<u64>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { seen: Filter::new(), shared: HashSet::new() }
    }

    pub(super) fn insert(&mut self, hashes: [Option<u64>; KEYS.len()]) {
        for hash in hashes.into_iter().flatten() {
            if self.seen.insert(hash) {
                self.shared.insert(hash);
            }
        }
    }

    pub(super) fn has(&self, hashes: [Option<u64>; KEYS.len()]) -> bool {
        !self.shared.is_empty()
            && hashes.into_iter().flatten().any(|hash| self.shared.contains(&hash))
    }
}

/// How many tokens are looked at before it is told.
const TOLD: u64 = 1_000;

/// Looks at every token of a store. Returns what has become of `seen` by it, how many tokens there
/// are, and what cannot be read. `tell` hears of the number now and then.
pub(super) async fn each<S: Send + 'static>(
    store: &dyn BulkStore,
    seen: S,
    look: fn(&mut S, &Columns<'_>, Option<&TokenState>),
    mut tell: impl FnMut(u64),
) -> Result<(S, u64, Vec<String>), StoreError> {
    let looking = Arc::new(Looking::default());
    // Who does not wait for the end does not have the rest looked at.
    let stop = Stop(&looking);
    let result = Arc::new(Mutex::new(Some(seen)));
    let scan = {
        let (looking, result) = (Arc::clone(&looking), Arc::clone(&result));
        store.scan(Box::new(move |columns, state| {
            if let Some(seen) = &mut *result.lock().unwrap_or_else(PoisonError::into_inner) {
                look(seen, columns, state);
            }
            looking.count()
        }))
    };
    let mut scan = pin!(scan);
    let mut told = 0;
    let damage = future::poll_fn(|context| {
        looking.waker.register(context.waker());
        let count = looking.count.load(Ordering::Relaxed);
        if count >= told + TOLD {
            told = count;
            tell(count);
        }
        scan.as_mut().poll(context)
    })
    .await?;
    drop(stop);
    let count = looking.count.load(Ordering::Relaxed);
    let seen = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok((seen.expect("nobody else takes it"), count, damage))
}

/// How far a look is, and whether it is to go on.
#[derive(Debug, Default)]
struct Looking {
    count: AtomicU64,
    waker: AtomicWaker,
    stopped: AtomicBool,
}

impl Looking {
    fn count(&self) -> ControlFlow<()> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(TOLD) {
            self.waker.wake();
        }
        match self.stopped.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

struct Stop<'a>(&'a Looking);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// A store page by page; the next page is read while one is worked on.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    store: &'a dyn BulkStore,
    limit: usize,
    ready: Option<Entries>,
}

impl<'a> Pages<'a> {
    pub(super) async fn of(store: &'a dyn BulkStore, limit: usize) -> Result<Self, StoreError> {
        let ready = Some(store.read_entries(None, limit).await?);
        Ok(Self { store, limit, ready })
    }

    /// Takes what is to be worked on. To be followed by [`meanwhile`](Self::meanwhile).
    pub(super) fn take(&mut self) -> Option<Entries> {
        self.ready.take()
    }

    /// Reads what comes after `next` while `work` is done.
    pub(super) async fn meanwhile<T>(
        &mut self,
        next: Option<&TokenId>,
        work: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        let read = async {
            match next {
                Some(next) => self.store.read_entries(Some(next), self.limit).await.map(Some),
                None => Ok(None),
            }
        };
        let (read, done) = future::join(read, work).await;
        self.ready = read?;
        Ok(done)
    }
}

/// The tokens of the target that have the ids of a page of the source. Both are gone through in
/// the order of ids, once.
#[derive(Debug)]
pub(super) struct SameIds<'a> {
    store: &'a dyn BulkStore,
    limit: usize,
    after: Option<TokenId>,
    page: Vec<Entry>,
    ended: bool,
}

impl<'a> SameIds<'a> {
    pub(super) fn of(store: &'a dyn BulkStore, limit: usize) -> Self {
        Self { store, limit, after: None, page: Vec::new(), ended: false }
    }

    /// Those of the target's tokens whose ids are in `ids`, which ascend from call to call.
    pub(super) async fn among(&mut self, ids: &[&TokenId]) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let Some(last) = ids.last() else { return Ok(found) };
        loop {
            let later = self.page.iter().position(|entry| entry.token.id() > Some(last));
            let rest = later.map_or_else(Vec::new, |at| self.page.split_off(at));
            let here = std::mem::replace(&mut self.page, rest);
            let wanted =
                |entry: &Entry| entry.token.id().is_some_and(|id| ids.binary_search(&id).is_ok());
            found.extend(here.into_iter().filter(wanted));
            if self.ended || !self.page.is_empty() {
                return Ok(found);
            }
            let page = self.store.read_entries(self.after.as_ref(), self.limit).await?;
            self.ended = page.next.is_none();
            self.after = page.next;
            self.page = page.entries;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_forgets_nothing_and_makes_up_little() {
        let hasher = RandomState::new();
        let mut filter = Filter::new();
        let wrong = (0..1_000_000_u64).filter(|n| filter.insert(hasher.hash_one(n))).count();
        assert!((0..1_000_000_u64).all(|n| filter.has(hasher.hash_one(n))));
        assert!(wrong < 1_000, "{wrong}");
    }

    #[tokio::test]
    async fn tokens_of_the_same_ids_are_found_in_one_pass() {
        let store = tokenkeep_core::ListStore::new();
        let ids: Vec<TokenId> = (0..100).map(TokenId::from_number).collect();
        for id in ids.iter().step_by(2) {
            let token = OAuthToken::builder().id(id.clone()).access_token(format!("test-{id}"));
            tokenkeep_core::TokenStore::save_token(&store, &token.build().unwrap()).await.unwrap();
        }
        for limit in [1, 7, 1_000] {
            let mut same = SameIds::of(&store, limit);
            for ids in ids.chunks(9) {
                let wanted: Vec<_> =
                    ids.iter().filter(|id| id.number().unwrap() % 3 == 0).collect();
                let found = same.among(&wanted).await.unwrap();
                let found: Vec<_> =
                    found.iter().map(|entry| entry.token.id().unwrap().number().unwrap()).collect();
                let expected: Vec<_> =
                    wanted.iter().map(|id| id.number().unwrap()).filter(|n| n % 2 == 0).collect();
                assert_eq!(found, expected);
            }
        }
    }
}
