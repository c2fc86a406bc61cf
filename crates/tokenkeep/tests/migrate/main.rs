//! Tokens are moved between stores of all kinds: all of them, once, and as they are.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod duplicates;
mod random;
mod stopped;
mod stores;
mod target;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use tokenkeep::{
    BulkStore, Entries, Entry, ListStore, OAuthToken, OAuthTokenBuilder, StoreError, Timestamp,
    TokenId, TokenQuery, TokenState, TokenStore,
    migrate::{Migration, Report},
    stores::{file::Dialect, file::FileConfig, file::FileStore, sqlite::SqliteStore},
};

const HEADER: &str = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,\
                      expiry_time,redirect_url,api_domain\n";

/// A user's token with values of its own.
fn token(user: &str, round: i64) -> OAuthTokenBuilder {
    OAuthToken::builder()
        .user_name(user)
        .client("test-client", "test-client-secret")
        .refresh_token(format!("test-refresh-{user}-{round}"))
        .access_token(format!("test-access-{user}-{round}"))
        .expiry_time(Timestamp::from_millis(1_764_000_000_000 + round))
        .api_domain("https://www.zohoapis.eu")
}

fn state(org: &str) -> TokenState {
    let mut state = TokenState::default();
    state.org_id = Some(org.to_owned());
    state
}

/// A token file as another program leaves it.
fn file(directory: &Path, rows: &str) -> FileStore {
    let path = directory.join("source.csv");
    #[expect(clippy::disallowed_methods, reason = "this is how other programs write")]
    std::fs::write(&path, format!("{HEADER}{rows}")).unwrap();
    FileConfig::new(path).dialect(Dialect::Quoted).open().unwrap()
}

async fn move_all(from: &dyn BulkStore, to: &dyn BulkStore) -> Report {
    let report = Migration::new(from, to).page_size(3).run().await.unwrap();
    check_sum(&report);
    report
}

/// Each token that was read is counted once, and what was written is what is there.
fn check_sum(report: &Report) {
    let merged: usize = report.merged.iter().map(|merged| merged.from.len()).sum();
    let listed = merged + report.conflicts.len() + report.refused.len();
    let counted = report.moved + report.updated + report.unchanged + listed as u64;
    assert_eq!(counted, report.read, "{report:?}");
    assert!(report.verification.is_none_or(|verification| verification.holds), "{report:?}");
}

/// All entries of a store.
async fn entries(store: &dyn BulkStore) -> Vec<Entry> {
    store.read_entries(None, usize::MAX).await.unwrap().entries
}

fn id(text: &str) -> TokenId {
    TokenId::new(text).unwrap()
}

fn access(token: &OAuthToken) -> &str {
    token.access_token().unwrap().expose_secret()
}

/// A store of six methods.
#[derive(Clone, Debug, Default)]
struct Six(ListStore);

#[async_trait]
impl TokenStore for Six {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.0.find_token(query).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        self.0.find_token_by_id(id).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.0.save_token(token).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.0.get_tokens().await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.0.delete_token(id).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.0.delete_tokens().await
    }
}

/// A store whose batches go wrong.
#[derive(Debug)]
struct Faulty {
    inner: ListStore,
    /// What becomes of a batch: what is done with it, and what is said.
    fault: fn(batch: usize, entries: &mut Vec<Entry>) -> Result<(), StoreError>,
    batches: std::sync::atomic::AtomicUsize,
}

impl Faulty {
    fn new(fault: fn(usize, &mut Vec<Entry>) -> Result<(), StoreError>) -> Self {
        Self { inner: ListStore::new(), fault, batches: 0.into() }
    }
}

#[async_trait]
impl BulkStore for Faulty {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        self.inner.read_entries(after, limit).await
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let batch = self.batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut saved = entries.to_vec();
        let outcome = (self.fault)(batch, &mut saved);
        let answers = self.inner.save_entries(&saved).await?;
        outcome?;
        // It says what it was asked to do, and not what it has done.
        let said = entries.iter().map(|entry| entry.token.clone());
        Ok(said.map(Ok).chain(answers.into_iter().skip(entries.len())).collect())
    }
}

#[async_trait]
impl TokenStore for Faulty {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.inner.find_token(query).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        self.inner.find_token_by_id(id).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.inner.save_token(token).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.inner.get_tokens().await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.inner.delete_token(id).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.inner.delete_tokens().await
    }

    fn shared(&self) -> Option<&dyn tokenkeep::SharedStore> {
        self.inner.shared()
    }
}

/// A store with tokens of these users, of which every third has a state.
async fn filled(users: usize) -> ListStore {
    let store = ListStore::new();
    let entries: Vec<_> = (0..users)
        .map(|number| {
            let token = token(&format!("user{number}@example.com"), 0).build().unwrap();
            let state = (number % 3 == 0).then(|| state(&number.to_string()));
            Entry::new(token).with_state(state)
        })
        .collect();
    for answer in store.save_entries(&entries).await.unwrap() {
        answer.unwrap();
    }
    store
}

/// Empty stores of all kinds.
fn targets(directory: &Path) -> Vec<Arc<dyn BulkStore>> {
    let file = FileConfig::new(directory.join("target.csv")).dialect(Dialect::Quoted);
    vec![
        Arc::new(ListStore::new()),
        Arc::new(SqliteStore::open(directory.join("target.db")).unwrap()),
        Arc::new(file.open().unwrap()),
    ]
}
