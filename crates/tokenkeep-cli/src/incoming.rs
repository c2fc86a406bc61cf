//! What `import` reads: JSON lines, an official SDK's token file, or its SQLite file.

use std::{fs, io::Read, path::Path};

use tokenkeep::{
    Field, OAuthToken, StoreError, TokenStore,
    stores::{
        file::{Dialect, FileConfig},
        sqlite::SqliteConfig,
    },
};
use zeroize::Zeroizing;

use crate::{error::Failure, lines};

/// A token to import, and where it stood.
pub(crate) struct Incoming {
    pub(crate) place: String,
    pub(crate) token: OAuthToken,
}

/// What is wrong with what is to be imported; at most this many mistakes are listed.
const LISTED: usize = 10;

const SQLITE: &[u8] = b"SQLite format 3\0";

/// Reads what `path` holds (`-` is stdin) and recognises it by its content.
pub(crate) async fn read(path: &Path) -> Result<Vec<Incoming>, Failure> {
    let content = if path == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin().lock().read_to_end(&mut content).map(|_bytes| content)
    } else {
        fs::read(path)
    };
    let content =
        Zeroizing::new(content.map_err(|error| {
            Failure::failed(format!("cannot read {}: {error}", path.display()))
        })?);
    if content.starts_with(SQLITE) {
        return from_sqlite(&content, path).await;
    }
    let text = std::str::from_utf8(&content).map_err(|error| {
        Failure::failed(format!("what is to be imported is not text after byte {}", {
            error.valid_up_to()
        }))
        .hint(FORMS)
    })?;
    let text = text.trim_start_matches('\u{feff}');
    match text.trim_start().as_bytes().first() {
        None => Ok(Vec::new()),
        Some(b'{') => from_lines(text),
        Some(_) if is_token_file(text) => from_token_file(text.as_bytes()).await,
        // A first line that is wrong in a file of JSON lines is said to be wrong as one.
        Some(_) if text.lines().any(|line| line.trim_start().starts_with('{')) => from_lines(text),
        Some(_) => Err(Failure::failed("what is to be imported is no list of tokens").hint(FORMS)),
    }
}

const FORMS: &str = "give JSON lines as `export` writes them, an official SDK's token file, or its \
                     SQLite file";

/// Whether the first line is an official SDK's header.
fn is_token_file(text: &str) -> bool {
    let header = text.lines().next().unwrap_or_default();
    let mut names = header.split(',').map(|name| name.trim().trim_matches('"'));
    names.next() == Some(Field::Id.name())
        && matches!(names.next(), Some("user_name" | "user_mail"))
}

fn from_lines(text: &str) -> Result<Vec<Incoming>, Failure> {
    let mut tokens = Vec::new();
    let mut mistakes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("line {}", number + 1);
        match lines::read(line) {
            Ok(token) => tokens.push(Incoming { place, token }),
            Err(mistake) => mistakes.push(format!("{place}: {mistake}")),
        }
    }
    if mistakes.is_empty() { Ok(tokens) } else { Err(refused(&mistakes)) }
}

/// The failure that lists these mistakes. Nothing has been changed.
pub(crate) fn refused(mistakes: &[String]) -> Failure {
    let mut list = mistakes.iter().take(LISTED).cloned().collect::<Vec<_>>().join("\n  ");
    if mistakes.len() > LISTED {
        list = format!("{list}\n  … and {} more", mistakes.len() - LISTED);
    }
    Failure::failed(format!("nothing was imported:\n  {list}"))
}

/// Reads a SQLite file in place, without changing it; one that came by stdin, from a copy.
async fn from_sqlite(content: &[u8], path: &Path) -> Result<Vec<Incoming>, Failure> {
    if path != Path::new("-") {
        let store = SqliteConfig::new(path).read_only(true).open().map_err(unreadable)?;
        return tokens_of(&store).await;
    }
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("import.db");
    write_new(&copy, content)?;
    let store = SqliteConfig::new(copy).read_only(true).open().map_err(unreadable)?;
    tokens_of(&store).await
}

/// Reads an SDK's token file from a copy, so that nothing is put beside the original.
async fn from_token_file(content: &[u8]) -> Result<Vec<Incoming>, Failure> {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("import.csv");
    write_new(&copy, content)?;
    let store = FileConfig::new(copy).dialect(Dialect::Quoted).open().map_err(unreadable)?;
    tokens_of(&store).await
}

fn unreadable(error: StoreError) -> Failure {
    let failure = Failure::from(error);
    let message = format!("nothing was imported: {}", failure.message);
    Failure { code: crate::exit::FAILED, message, ..failure }
}

async fn tokens_of(store: &dyn TokenStore) -> Result<Vec<Incoming>, Failure> {
    if let Some(shared) = store.shared() {
        let damage = shared.page(None, 1).await.map_err(unreadable)?.damage;
        if !damage.is_empty() {
            return Err(refused(&damage));
        }
    }
    let tokens = store.get_tokens().await.map_err(unreadable)?;
    let mut mistakes = Vec::new();
    let mut incoming = Vec::new();
    for token in tokens {
        let place = match token.id() {
            Some(id) => format!("token {id}"),
            None => "a token without an id".to_owned(),
        };
        if token.has_token() {
            incoming.push(Incoming { place, token });
        } else {
            mistakes.push(format!("{place}: has no access, refresh or grant token"));
        }
    }
    if mistakes.is_empty() { Ok(incoming) } else { Err(refused(&mistakes)) }
}

fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    std::io::Write::write_all(&mut file, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_files_are_known_by_their_header() {
        for header in [
            "id,user_name,client_id,client_secret",
            "id,user_mail,client_id",
            "\"id\",\"user_name\"\r\n1,a",
        ] {
            assert!(is_token_file(header), "{header}");
        }
        assert!(!is_token_file("name,id\n"));
    }

    #[test]
    fn all_mistakes_of_a_file_are_listed_by_line() {
        let text = "{\"access_token\":\"test-a\"}\n\n{\"access_token\":1}\nnonsense\n";
        let report = from_lines(text).err().expect("refused").report();
        assert!(report.contains("line 3: access_token: must be a string"), "{report}");
        assert!(report.contains("line 4: is not JSON"), "{report}");
    }
}
