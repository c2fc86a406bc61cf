//! [`SideFile`]: what we know beyond the ten columns, in a JSON file beside the token file.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use tokenkeep_core::{Sidecar, StoreError, StoreErrorKind};

use crate::{
    atomic::{AtomicWriter, Written},
    error::io_error,
    stamp::{Stamp, Version, version},
};

/// `PATH.tokenkeep`: state, leases and the last id given, as one [`Sidecar`]. It holds no secret,
/// and no token depends on it: without it tokens are found and saved as before.
#[derive(Debug)]
pub(crate) struct SideFile {
    path: PathBuf,
    slot: RwLock<Option<Arc<SideSnapshot>>>,
    /// How many snapshots there have been.
    taken: AtomicU64,
}

/// One version of the side file.
#[derive(Debug)]
pub(crate) struct SideSnapshot {
    /// Which of all that differ it is.
    pub(crate) number: u64,
    version: Version,
    settled: bool,
    pub(crate) sidecar: Sidecar,
    pub(crate) condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Readable,
    /// Not what we write. The next write sets it aside and begins anew.
    Damaged,
    /// Written by a newer version, which knows more: never overwritten.
    Newer,
}

impl SideFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, slot: RwLock::default(), taken: AtomicU64::new(0) }
    }

    /// Answers from memory, if the file is what was read. Costs one `stat`.
    pub(crate) fn if_fresh<T>(&self, answer: impl FnOnce(&SideSnapshot) -> T) -> Option<T> {
        let now = version(&self.path).ok()?;
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let known = slot.as_ref()?;
        (known.settled && known.version == now).then(|| answer(known))
    }

    /// The side file as it is now. A missing or damaged one reads as an empty one.
    pub(crate) fn load(&self) -> Result<Arc<SideSnapshot>, StoreError> {
        let failed = |error| io_error("read", &self.path, error);
        let now = version(&self.path).map_err(failed)?;
        let known = self.slot.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = &known
            && known.settled
            && known.version == now
        {
            return Ok(Arc::clone(known));
        }
        // Only renames change this file, so what is read is one version of it, whole.
        let (version, text) = match std::fs::File::open(&self.path) {
            Ok(mut file) => {
                let version = Stamp::of(&file.metadata().map_err(failed)?);
                let mut text = Vec::new();
                io::Read::read_to_end(&mut file, &mut text).map_err(failed)?;
                (Some(version), text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let (sidecar, condition) = match version {
            Some(_) => read(&text),
            None => (Sidecar::default(), Condition::Readable),
        };
        if condition == Condition::Damaged {
            tracing::warn!(
                path = %self.path.display(),
                "the side file is damaged: states and leases are unknown, tokens are not affected"
            );
        }
        let settled = version.is_none_or(|stamp| stamp.is_settled());
        let number = match known {
            // Its time of change has become old enough to tell of the next one.
            Some(known)
                if (known.version, known.condition) == (version, condition)
                    && known.sidecar == sidecar =>
            {
                known.number
            }
            _ => self.next_number(),
        };
        let snapshot = Arc::new(SideSnapshot { number, version, settled, sidecar, condition });
        self.remember(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Replaces the side file. Only for who has the lock; `known` is what it read under it.
    pub(crate) fn write(
        &self,
        known: &SideSnapshot,
        mut sidecar: Sidecar,
        writer: &AtomicWriter,
        like: &Path,
    ) -> Result<(), StoreError> {
        match known.condition {
            Condition::Readable => {}
            Condition::Damaged => {
                if known.version.is_some() && self.path.exists() {
                    let aside = writer.set_aside(&self.path)?;
                    tracing::warn!(path = %aside.display(), "set a damaged side file aside");
                }
            }
            Condition::Newer => return Err(self.newer()),
        }
        sidecar.version = Sidecar::VERSION;
        let text = serde_json::to_vec(&sidecar).map_err(|error| {
            StoreError::new(StoreErrorKind::Other, "cannot encode the side file").with_source(error)
        })?;
        if let Written::Done(version) = writer.replace(&self.path, &text, like, || true)? {
            let condition = Condition::Readable;
            let number = self.next_number();
            let snapshot = SideSnapshot { number, version, settled: false, sidecar, condition };
            self.remember(Arc::new(snapshot));
        }
        Ok(())
    }

    /// The error for what needs the side file, where a newer version wrote it.
    pub(crate) fn newer(&self) -> StoreError {
        StoreError::new(
            StoreErrorKind::Unsupported,
            format!("{} was written by a newer version", self.path.display()),
        )
        .with_hint("update this program; tokens can be found and saved meanwhile")
    }

    fn next_number(&self) -> u64 {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    fn remember(&self, snapshot: Arc<SideSnapshot>) {
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }
}

fn read(text: &[u8]) -> (Sidecar, Condition) {
    let Ok(value @ Value::Object(_)) = serde_json::from_slice::<Value>(text) else {
        return (Sidecar::default(), Condition::Damaged);
    };
    let last_id = value.get("last_id").and_then(Value::as_u64).unwrap_or_default();
    let mut fallback = Sidecar::default();
    fallback.last_id = last_id;
    let version = value.get("version").and_then(Value::as_u64);
    if version.is_some_and(|version| version > u64::from(Sidecar::VERSION)) {
        return (fallback, Condition::Newer);
    }
    match serde_json::from_value(value) {
        Ok(sidecar) => (sidecar, Condition::Readable),
        Err(_) => (fallback, Condition::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_from_what_is_newer() {
        assert_eq!(read(b"{").1, Condition::Damaged);
        assert_eq!(read(b"[1]").1, Condition::Damaged);
        assert_eq!(read(br#"{"version":1,"last_id":7}"#).0.last_id, 7);
        let (sidecar, condition) = read(br#"{"version":2,"last_id":7,"tokens":[]}"#);
        assert_eq!((sidecar.last_id, condition), (7, Condition::Newer));
        let (sidecar, condition) = read(br#"{"version":1,"last_id":7,"tokens":[]}"#);
        assert_eq!((sidecar.last_id, condition), (7, Condition::Damaged));
    }
}
