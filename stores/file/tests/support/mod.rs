//! What the tests of the file store share.
#![expect(dead_code, clippy::unwrap_used, reason = "each test program uses some of it")]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokenkeep_core::{OAuthToken, TokenId, TokenQuery, TokenStore as _};
use tokenkeep_store_file::{Dialect, FileConfig, FileStore};

pub(crate) const HEADER: &str = "id,user_name,client_id,client_secret,refresh_token,access_token,\
                          grant_token,expiry_time,redirect_url,api_domain";

/// A directory with a token file in it, or not yet.
pub(crate) struct Space {
    directory: TempDir,
}

impl Space {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// With a token file of these bytes.
    pub(crate) fn with(content: impl AsRef<[u8]>) -> Self {
        let space = Self::new();
        space.write(content);
        space
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("tokens.csv")
    }

    /// Writes the token file as an official SDK does: in place.
    pub(crate) fn write(&self, content: impl AsRef<[u8]>) {
        write(&self.path(), content);
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    pub(crate) fn open(&self) -> FileStore {
        FileStore::open(self.path()).unwrap()
    }

    pub(crate) fn open_quoted(&self) -> FileStore {
        FileConfig::new(self.path()).dialect(Dialect::Quoted).open().unwrap()
    }

    /// The names of all files beside the token file.
    pub(crate) fn others(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "tokens.csv")
            .collect();
        names.sort();
        names
    }
}

#[expect(clippy::disallowed_methods, reason = "this is how other programs write")]
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).unwrap();
}

/// A token with nothing but a user and a refresh token.
pub(crate) fn token(user: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(user)
        .refresh_token(format!("test-refresh-{user}"))
        .build()
        .unwrap()
}

/// A new access token for `user`.
pub(crate) fn access(user: &str, access_token: &str) -> OAuthToken {
    OAuthToken::builder().user_name(user).access_token(access_token).build().unwrap()
}

pub(crate) fn id(id: &str) -> TokenId {
    TokenId::new(id).unwrap()
}

pub(crate) async fn find(store: &FileStore, user: &str) -> Option<OAuthToken> {
    store.find_token(&TokenQuery::user(user).unwrap()).await.unwrap()
}

pub(crate) fn ids(tokens: &[OAuthToken]) -> Vec<&str> {
    tokens.iter().map(|token| token.id().unwrap().as_str()).collect()
}
