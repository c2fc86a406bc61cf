//! A place for tokens that the SDK and a store of ours share.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokenkeep_core::{Field, SharedStore, TokenId, TokenQuery, TokenStore};
use tokenkeep_store_file::FileStore;
use tokenkeep_store_sqlite::SqliteStore;

use crate::{
    sdk::Sdk,
    token::{Columns, in_order},
};

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The SDK's `FileStore` and our file store.
    File,
    /// The article's SQLite store and ours.
    Sqlite,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sqlite => "sqlite",
        }
    }
}

/// A directory of its own, and the SDK, which has opened nothing yet.
pub(crate) struct Scene {
    pub(crate) kind: Kind,
    pub(crate) sdk: Sdk,
    directory: TempDir,
}

impl Scene {
    pub(crate) fn new(kind: Kind, python: &Path) -> Self {
        Self { kind, sdk: Sdk::start(python), directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(match self.kind {
            Kind::File => "sdk_tokens.txt",
            Kind::Sqlite => "zohooauth.db",
        })
    }

    /// Our store, as a program that has just been started opens it.
    pub(crate) fn open_ours(&self) -> Ours {
        Ours(match self.kind {
            Kind::File => Arc::new(FileStore::open(self.path()).unwrap()),
            Kind::Sqlite => Arc::new(SqliteStore::open(self.path()).unwrap()),
        })
    }

    pub(crate) fn open_sdk(&mut self) {
        let path = self.path();
        self.sdk.open(self.kind, &path).unwrap();
    }

    /// Both stores open on what the SDK made.
    pub(crate) fn open_both(&mut self) -> Ours {
        self.open_sdk();
        self.open_ours()
    }

    /// Checks that both sides see exactly `expected`, and so does one of ours opened now.
    pub(crate) async fn expect(&mut self, ours: &Ours, expected: &[Columns]) {
        let expected = in_order(expected.to_vec());
        ours.settle(&expected).await;
        assert_eq!(ours.tokens().await, expected, "what we see");
        assert_eq!(in_order(self.sdk.tokens()), expected, "what the SDK sees");
        assert_eq!(self.open_ours().tokens().await, expected, "what we see after opening");
    }
}

/// A store of ours.
#[derive(Clone, Debug)]
pub(crate) struct Ours(Arc<dyn TokenStore>);

impl Ours {
    pub(crate) fn new(store: impl TokenStore) -> Self {
        Self(Arc::new(store))
    }

    pub(crate) fn store(&self) -> Arc<dyn TokenStore> {
        Arc::clone(&self.0)
    }

    pub(crate) fn shared(&self) -> &dyn SharedStore {
        self.0.shared().unwrap()
    }

    pub(crate) async fn save(&self, token: &Columns) -> Columns {
        Columns::from(&self.0.save_token(&token.token()).await.unwrap())
    }

    pub(crate) async fn tokens(&self) -> Vec<Columns> {
        self.0.get_tokens().await.unwrap().iter().map(Columns::from).collect()
    }

    /// Waits until we see `expected`, for a second at most.
    ///
    /// When an SDK has made the file shorter it may have been interrupted in the middle of it, so
    /// for a moment our file store answers from what was there before.
    pub(crate) async fn settle(&self, expected: &[Columns]) {
        let seen = async {
            while self.tokens().await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Who looks next says what is seen instead.
        drop(tokio::time::timeout(Duration::from_secs(1), seen).await);
    }

    pub(crate) async fn find(&self, query: &TokenQuery) -> Option<Columns> {
        self.0.find_token(query).await.unwrap().as_ref().map(Columns::from)
    }

    pub(crate) async fn find_user(&self, user: &str) -> Option<Columns> {
        self.find(&TokenQuery::user(user).unwrap()).await
    }

    pub(crate) async fn find_by_id(&self, id: &TokenId) -> Option<Columns> {
        self.0.find_token_by_id(id).await.unwrap().as_ref().map(Columns::from)
    }

    pub(crate) async fn delete(&self, id: &TokenId) -> bool {
        self.0.delete_token(id).await.unwrap()
    }

    pub(crate) async fn delete_all(&self) -> u64 {
        self.0.delete_tokens().await.unwrap()
    }
}

/// Every way to look for `token` that a query has.
pub(crate) fn queries(token: &Columns) -> Vec<TokenQuery> {
    let stored = token.token();
    let user = stored.user_name().map(|name| TokenQuery::user(name).unwrap());
    let access = stored.access_token().cloned().map(TokenQuery::access_token);
    let grant = stored.grant_token().cloned().map(TokenQuery::grant_token);
    let refresh = stored.refresh_token().cloned().map(TokenQuery::refresh_token);
    [user, access, grant, refresh].into_iter().flatten().collect()
}

/// Every way to look for `token` that the SDK has.
pub(crate) fn sdk_queries(token: &Columns) -> Vec<Columns> {
    let criteria: [&[Field]; 4] = [
        &[Field::UserName],
        &[Field::AccessToken],
        &[Field::GrantToken, Field::ClientId, Field::ClientSecret],
        &[Field::RefreshToken, Field::ClientId, Field::ClientSecret],
    ];
    let can_be = |fields: &&[Field]| fields.iter().all(|field| token.token().has(*field));
    criteria.into_iter().filter(can_be).map(|fields| token.only(fields)).collect()
}
