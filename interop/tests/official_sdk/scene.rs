//! A place for tokens that the SDK and a store of ours share.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenkeep_core::{Field, SharedStore, TokenId, TokenQuery, TokenStore};
use tokenkeep_store_file::FileStore;
use tokenkeep_store_mysql::MysqlStore;
use tokenkeep_store_sqlite::SqliteStore;

use crate::{
    database::Database,
    language::Language,
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
    /// The SDK's `DBStore` and our MySQL store.
    Mysql,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sqlite => "sqlite",
            Self::Mysql => "mysql",
        }
    }

    /// Whether the SDK takes the largest text for the largest number, so that it cannot add to a
    /// table that has a 10.
    pub(crate) const fn counts_by_text(self) -> bool {
        matches!(self, Self::Sqlite | Self::Mysql)
    }
}

/// What is shared by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) languages: &'static [Language],
    /// How the table is made. Where this says nothing, whoever comes first makes it; on MySQL that
    /// is us.
    pub(crate) table: Option<&'static str>,
}

/// A directory or database of its own, and the SDK, which has opened nothing yet.
pub(crate) struct Scene {
    pub(crate) kind: Kind,
    /// That of the first language.
    pub(crate) sdk: Sdk,
    /// Those of the others, where there are several.
    pub(crate) others: Vec<Sdk>,
    place: Place,
}

enum Place {
    Directory(TempDir),
    Database(Database),
}

impl Scene {
    pub(crate) async fn new(stage: &Stage) -> Self {
        let place = if stage.kind == Kind::Mysql {
            let database = Database::new().await;
            if let Some(table) = stage.table {
                database.run(table).await;
            }
            Place::Database(database)
        } else {
            Place::Directory(tempfile::tempdir().unwrap())
        };
        let mut sdks = stage.languages.iter().map(|language| Sdk::start(*language));
        let sdk = sdks.next().expect("a stage has a language");
        Self { kind: stage.kind, sdk, others: sdks.collect(), place }
    }

    /// The file that is shared.
    pub(crate) fn path(&self) -> PathBuf {
        match (&self.place, self.kind) {
            (Place::Directory(directory), Kind::File) => directory.path().join("sdk_tokens.txt"),
            (Place::Directory(directory), _) => directory.path().join("zohooauth.db"),
            (Place::Database(_), _) => unreachable!("a database is no file"),
        }
    }

    /// The database that is shared.
    pub(crate) fn database(&self) -> &Database {
        match &self.place {
            Place::Database(database) => database,
            Place::Directory(_) => unreachable!("a file is no database"),
        }
    }

    /// Where the SDK finds the store.
    pub(crate) fn location(&self) -> Value {
        let mut location = match &self.place {
            Place::Database(database) => database.location(),
            Place::Directory(_) => json!({ "path": self.path() }),
        };
        location["kind"] = self.kind.name().into();
        location
    }

    /// Our store, as a program that has just been started opens it.
    pub(crate) async fn open_ours(&self) -> Ours {
        Ours(match self.kind {
            Kind::File => Arc::new(FileStore::open(self.path()).unwrap()),
            Kind::Sqlite => Arc::new(SqliteStore::open(self.path()).unwrap()),
            Kind::Mysql => Arc::new(MysqlStore::open(&self.database().url()).await.unwrap()),
        })
    }

    /// Opens the SDK's store. A `DBStore` makes no table.
    pub(crate) fn open_sdk(&mut self) {
        let location = self.location();
        for sdk in self.sdks() {
            sdk.open(&location).unwrap();
        }
    }

    /// The SDK in each language.
    pub(crate) fn sdks(&mut self) -> impl Iterator<Item = &mut Sdk> {
        std::iter::once(&mut self.sdk).chain(&mut self.others)
    }

    /// Both stores open on what the SDK made, if it makes something.
    pub(crate) async fn open_both(&mut self) -> Ours {
        self.open_sdk();
        self.open_ours().await
    }

    /// Checks that both sides see exactly `expected`, and so does one of ours opened now.
    pub(crate) async fn expect(&mut self, ours: &Ours, expected: &[Columns]) {
        let expected = in_order(expected.to_vec());
        ours.settle(&expected).await;
        assert_eq!(ours.tokens().await, expected, "what we see");
        for sdk in self.sdks() {
            let seen = in_order(sdk.tokens());
            assert_eq!(seen, expected, "what the SDK for {} sees", sdk.language.name());
        }
        assert_eq!(self.open_ours().await.tokens().await, expected, "what we see after opening");
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
