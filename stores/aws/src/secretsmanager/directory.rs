//! Where the index is, and how it is changed.
//!
//! The secret `root` names the secret that is the index. AWS keeps about a hundred versions of a
//! secret a day, so an index that has [`MANY`] goes on in another secret: the new one is made
//! beside it, and the old one's last version says where it is. That version is put by comparison
//! like any other, and so is the moment at which the index moves.

use serde::{Deserialize, Serialize};
use tokenkeep_core::StoreError;

use super::{
    document::{check_version, unwritable},
    index::Index,
    secrets::{Found, Run, Version, Written, busy, scheduled},
};
use crate::error::corrupt;

/// How many versions a secret of ours may have before another takes its place.
pub(crate) const MANY: u32 = 80;
/// How often an index that is read may have moved on meanwhile.
const MOVES: usize = 64;

const ROOT: &str = "root";

/// What the secret `root` holds.
#[derive(Serialize, Deserialize)]
struct Root {
    version: u32,
    index: String,
    number: u64,
}

impl Root {
    const VERSION: u32 = 1;

    fn parse(text: &str) -> Result<Self, StoreError> {
        let json = check_version(text, Self::VERSION, "the secret named as the store's root")?;
        serde_json::from_value(json)
            .map_err(|_may_repeat| corrupt("the store's root cannot be read"))
    }

    fn text(index: &str, number: u64) -> Result<String, StoreError> {
        let root = Self { version: Self::VERSION, index: index.to_owned(), number };
        serde_json::to_string(&root).map_err(|_error| unwritable("the root"))
    }
}

/// The index as it was read.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    /// In which secret, and in which version of it; neither, while there is no store.
    at: Option<(String, String)>,
    pub(crate) index: Index,
}

impl Snapshot {
    /// Names this version of the index, as no other is named.
    pub(crate) fn mark(&self) -> String {
        self.at.as_ref().map(|(secret, version)| format!("{secret} {version}")).unwrap_or_default()
    }

    /// The end of the name of the secret that is the index.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.at.as_ref().map(|(secret, _version)| secret.as_str())
    }
}

impl Run {
    pub(crate) fn index_name(&self, end: &str) -> String {
        self.name(&format!("index/{end}"))
    }

    pub(crate) fn root_name(&self) -> String {
        self.name(ROOT)
    }

    /// The index as it is now.
    pub(crate) async fn index(&mut self) -> Result<Snapshot, StoreError> {
        let known = self.secrets.known_index().clone();
        if let Some(known) = known
            && let Some(snapshot) = self.follow(known).await?
        {
            return Ok(snapshot);
        }
        let mut before = None;
        loop {
            let Some((_version, root)) = self.root().await? else {
                return Ok(Snapshot::default());
            };
            if let Some(snapshot) = self.follow(root.index.clone()).await? {
                return Ok(snapshot);
            }
            // What it names was removed because another took its place, if it names another now.
            if before.replace(root.index.clone()) == Some(root.index) {
                return Err(corrupt("the secret that is the store's index is gone")
                    .with_hint("restore it; its name is in the secret `root`"));
            }
        }
    }

    /// The index, which is in this secret or where it says.
    async fn follow(&mut self, mut end: String) -> Result<Option<Snapshot>, StoreError> {
        for _ in 0..MOVES {
            let name = self.index_name(&end);
            let Found::There(Version { id, text }) = self.get(&name).await? else {
                return Ok(None);
            };
            let mut index = Index::parse(&text)?;
            match index.moved.take() {
                Some(moved) => end = moved,
                None => {
                    *self.secrets.known_index() = Some(end.clone());
                    return Ok(Some(Snapshot { at: Some((end, id)), index }));
                }
            }
        }
        Err(busy())
    }

    async fn root(&mut self) -> Result<Option<(String, Root)>, StoreError> {
        let name = self.root_name();
        match self.get(&name).await? {
            Found::There(Version { id, text }) => Ok(Some((id, Root::parse(&text)?))),
            Found::Absent => Ok(None),
            Found::Leaving => Err(scheduled()),
        }
    }

    /// Writes `index` over what was read. It is a conflict if somebody else has meanwhile.
    pub(crate) async fn commit(
        &mut self,
        over: &Snapshot,
        mut index: Index,
    ) -> Result<Written, StoreError> {
        let Some((end, version)) = &over.at else { return self.found(index).await };
        let name = self.index_name(end);
        index.versions = over.index.versions + 1;
        if index.versions < MANY {
            let text = index.to_text()?;
            return self.replace(&name, version, &text).await;
        }
        (index.versions, index.number) = (1, over.index.number + 1);
        let new = self.create_aside("index", &index.to_text()?).await?;
        let forward = Index::forward(&new, &over.index).to_text()?;
        let written = self.replace(&name, version, &forward).await?;
        if written == Written::Done {
            self.keep(&self.index_name(&new));
            *self.secrets.known_index() = Some(new.clone());
            let mut after = self.after();
            after.index = Some((new, index.number));
            after.unused.push(name);
        }
        Ok(written)
    }

    /// Writes the first index: where none is, there is no store yet.
    async fn found(&mut self, mut index: Index) -> Result<Written, StoreError> {
        (index.versions, index.number) = (1, 1);
        let new = self.create_aside("index", &index.to_text()?).await?;
        let name = self.root_name();
        let written = self.create(&name, &Root::text(&new, 1)?).await?;
        if written == Written::Done {
            self.keep(&self.index_name(&new));
            *self.secrets.known_index() = Some(new);
        }
        Ok(written)
    }

    /// A secret is named now: it is not to be removed.
    pub(crate) fn keep(&self, name: &str) {
        self.after().unsure.retain(|unsure| unsure != name);
    }

    /// Lets `root` name a newer index. Whoever reads the older one is told where to go.
    pub(crate) async fn point(&mut self, end: &str, number: u64) -> Result<(), StoreError> {
        let name = self.root_name();
        while let Some((version, root)) = self.root().await? {
            if root.number >= number {
                break;
            }
            let text = Root::text(end, number)?;
            if self.replace(&name, &version, &text).await? == Written::Done {
                break;
            }
        }
        Ok(())
    }
}
