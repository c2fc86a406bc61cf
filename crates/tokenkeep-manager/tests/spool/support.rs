//! Entries to put, and the files that they become.

use std::path::{Path, PathBuf};

use tokenkeep_core::{Fingerprint, OAuthToken, Timestamp, TokenId};
use tokenkeep_manager::{FileSpool, SpoolKey, Spooled};

pub(crate) const ISSUED_AT: Timestamp = Timestamp::from_millis(1_764_000_000_000);

pub(crate) fn id(text: &str) -> TokenId {
    TokenId::new(text).unwrap()
}

/// The grant of a stored token with this refresh token.
pub(crate) fn grant(refresh_token: &str) -> Fingerprint {
    let stored = OAuthToken::builder().refresh_token(refresh_token).build().unwrap();
    Fingerprint::of_grant(&stored).unwrap()
}

/// An entry for `id` that was issued to `test-refresh-old`, with this new refresh token.
pub(crate) fn entry(id: &TokenId, refresh_token: &str) -> Spooled {
    let token = OAuthToken::builder()
        .user_name("alice@example.com")
        .client("test-client-id", "test-client-secret")
        .refresh_token(refresh_token)
        .access_token("test-access-token")
        .expiry_time(ISSUED_AT)
        .build()
        .unwrap();
    Spooled::new(id.clone(), grant("test-refresh-old"), token, ISSUED_AT)
}

pub(crate) fn key() -> SpoolKey {
    SpoolKey::new(*b"test-key-not-a-real-key-01234567")
}

pub(crate) fn spool(directory: &Path) -> FileSpool {
    FileSpool::in_directory(directory).unwrap()
}

/// All that is in the directory, temporary files too.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|found| found.unwrap().path()).collect();
    files.sort();
    files
}

/// The only file in the directory.
pub(crate) fn only_file(directory: &Path) -> PathBuf {
    let mut files = files(directory);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Writes a file as no spool does.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    #[expect(clippy::disallowed_methods, reason = "a test does what others may have done")]
    std::fs::write(path, content).unwrap();
}
