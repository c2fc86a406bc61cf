//! The file store passes the conformance suite in both dialects.

use std::{fmt::Write as _, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use tempfile::TempDir;
use tokenkeep_core::{BulkStore, Clock, Field, OAuthToken, StoreError, TokenStore};
use tokenkeep_store_file::{Dialect, FileConfig, FileStore};
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

fn main() -> ExitCode {
    conformance::main(vec![
        Box::new(File { dialect: Dialect::Shared, name: "file" }),
        Box::new(File { dialect: Dialect::Quoted, name: "file_quoted" }),
    ])
}

struct File {
    dialect: Dialect,
    name: &'static str,
}

#[async_trait]
impl Fixture for File {
    fn name(&self) -> &str {
        self.name
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(Directory { dialect: self.dialect, directory: tempfile::tempdir()? }))
    }

    fn capabilities(&self) -> Capabilities {
        let shared = self.dialect == Dialect::Shared;
        let refuses = if shared { refused_when_shared } else { refused_when_quoted };
        Capabilities::new()
            .persistent()
            .processes()
            .shared()
            .bulk_store()
            .refusing(refuses)
            .bulk(10_000, 50)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(address, self.dialect, clock)?))
    }
}

fn refused_when_shared(field: Field, value: &str) -> bool {
    refused_when_quoted(field, value) || value.contains([',', '"', '\\', '\r', '\n'])
}

fn refused_when_quoted(field: Field, value: &str) -> bool {
    value.contains('\0') || (field == Field::Id && value.trim().eq_ignore_ascii_case("id"))
}

struct Directory {
    dialect: Dialect,
    directory: TempDir,
}

impl Directory {
    fn path(&self) -> String {
        let path = self.directory.path().join("tokens.csv");
        path.into_os_string().into_string().expect("temporary paths are UTF-8")
    }
}

#[async_trait]
impl Space for Directory {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(&self.path(), self.dialect, clock)?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(open(&self.path(), self.dialect, clock)?)))
    }

    fn address(&self) -> Option<String> {
        Some(self.path())
    }

    async fn preload(&self, tokens: &[OAuthToken]) -> Result<bool, SetupError> {
        let mut text = String::from(
            "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,\
             expiry_time,redirect_url,api_domain\n",
        );
        for token in tokens {
            let columns = token.expose_columns().map(Option::unwrap_or_default);
            if columns.iter().any(|value| refused_when_shared(Field::UserName, value)) {
                return Ok(false);
            }
            writeln!(text, "{}", columns.join(","))?;
        }
        #[expect(clippy::disallowed_methods, reason = "a file as another program would write it")]
        std::fs::write(self.path(), text)?;
        Ok(true)
    }
}

fn open(path: &str, dialect: Dialect, clock: Arc<dyn Clock>) -> Result<FileStore, StoreError> {
    FileConfig::new(path).dialect(dialect).clock(clock).open()
}
