//! What waits in the spool because it could not be stored, and whether that is safe there.

use std::path::Path;

use tokenkeep::{Fingerprint, Spool, TokenId, TokenStore};

use super::{Check, Verdict, failed};
use crate::spool::CommandSpool;

pub(super) async fn examine(
    spool: Option<&CommandSpool>,
    store: Option<&dyn TokenStore>,
    checks: &mut Vec<Check>,
) {
    let Some(spool) = spool else {
        let check = Check::new("spool", Verdict::Skipped, "there is none");
        checks.push(check.hint("a new token that cannot be stored is lost with the command"));
        return;
    };
    let listing = match spool.list().await {
        Ok(listing) => listing,
        Err(error) => {
            checks.push(failed("spool", error.into()));
            return;
        }
    };
    let directory = spool.directory();
    let (mut waiting, mut foreign) = (Vec::new(), 0_usize);
    for (id, grant) in listing.entries {
        if is_of(store, &id, &grant).await { waiting.push(id.to_string()) } else { foreign += 1 }
    }
    let before = checks.len();
    let mut add = |verdict, detail: String, hint: &str| {
        checks.push(Check::new("spool", verdict, detail).hint(hint));
    };
    if !waiting.is_empty() {
        add(
            Verdict::Warning,
            format!("wait in {} to be stored: ids {}", directory.display(), waiting.join(", ")),
            "`tokenkeep recover` stores them",
        );
    }
    if foreign > 0 {
        add(
            Verdict::Warning,
            format!("of no token in this store: {foreign} in {}", directory.display()),
            "run `tokenkeep recover` with the `--store` they are of; those of a user who has \
             logged in since are of no use and can be removed",
        );
    }
    for damage in listing.damage {
        checks.push(Check::new("spool", Verdict::Failed, damage));
    }
    checks.extend(open_to_others(directory));
    if checks.len() == before {
        let detail = format!("nothing waits in {}", directory.display());
        checks.push(Check::new("spool", Verdict::Ok, detail));
    }
}

/// Whether the store has the token that this one was issued for. Without a store, it may.
async fn is_of(store: Option<&dyn TokenStore>, id: &TokenId, grant: &Fingerprint) -> bool {
    let Some(store) = store else { return true };
    match store.find_token_by_id(id).await {
        Ok(stored) => stored.and_then(|it| Fingerprint::of_grant(&it)).as_ref() == Some(grant),
        Err(_said_by_other_checks) => true,
    }
}

/// Who else can read what waits.
#[cfg(unix)]
fn open_to_others(directory: &Path) -> Option<Check> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(metadata.permissions().mode() & 0o777)
    };
    let files = std::fs::read_dir(directory).ok()?;
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let open: Vec<_> = paths
        .chain([directory.to_owned()])
        .filter(|path| mode(path).is_some_and(|mode| mode & 0o077 != 0))
        .map(|path| path.display().to_string())
        .collect();
    (!open.is_empty()).then(|| {
        Check::new("spool", Verdict::Warning, format!("open to others: {}", open.join(", ")))
            .hint(format!("chmod -R go= {}", directory.display()))
    })
}

#[cfg(not(unix))]
fn open_to_others(_directory: &Path) -> Option<Check> {
    None
}
