//! A run of a migration: survey, move, verify.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::{TryFutureExt, future};
use tokenkeep_core::{
    BulkStore, Columns, Entry, Field, OAuthToken, StoreError, StoreErrorKind, TokenId, TokenState,
    matching::{self, SavePlan},
};

use super::{
    Migration, MigrationError, Phase, Report, Verification,
    digest::{Digester, Sum},
    group::Group,
    one_by_one::state_of,
    report::{Conflict, Refused},
    survey::{self, Filter, Keys, Pages, SameIds, Shared},
    target::related,
};

pub(super) async fn run(migration: &Migration<'_>) -> Result<Report, MigrationError> {
    let mut run = Run::new(migration)?;
    run.survey().await?;
    run.move_all().await?;
    if !migration.dry_run {
        run.verify().await?;
    }
    Ok(run.report)
}

struct Run<'a> {
    migration: &'a Migration<'a>,
    to: &'a dyn BulkStore,
    page_size: usize,
    report: Report,
    keys: Keys,
    /// What the source has more than once.
    shared: Shared,
    /// What the target has; nothing, if it was empty.
    in_target: Option<Filter>,
    same_ids: SameIds<'a>,
    digester: Digester,
    /// What the target has to hold.
    expected: Sum,
    /// Those whose numbers are others' in the target. They get new ones when all that can keep
    /// theirs have them, so that a new number is nobody's.
    waiting: Vec<(TokenId, Entry)>,
    /// What was saved at once and is not counted yet.
    behind: Option<Behind>,
    total: u64,
}

/// Entries that were saved at once: which of them, and under which ids.
struct Behind {
    entries: Arc<Vec<Entry>>,
    saved: Vec<(usize, Option<TokenId>)>,
}

impl<'a> Run<'a> {
    fn new(migration: &'a Migration<'a>) -> Result<Self, MigrationError> {
        let page_size = migration.page_size.unwrap_or_else(|| migration.to.page_size());
        Ok(Self {
            migration,
            to: migration.to,
            report: Report { dry_run: migration.dry_run, ..Report::default() },
            keys: Keys::default(),
            shared: Shared::new(),
            in_target: None,
            same_ids: SameIds::of(migration.to, page_size),
            page_size,
            digester: Digester::random()?,
            expected: Sum::default(),
            waiting: Vec::new(),
            behind: None,
            total: 0,
        })
    }

    /// Looks for what the source has more than once, and for what the target has: at both at once.
    async fn survey(&mut self) -> Result<(), MigrationError> {
        let (seen_here, seen_there) = (AtomicU64::new(0), AtomicU64::new(0));
        let tell = |one: &AtomicU64, count, other: &AtomicU64| {
            one.store(count, Ordering::Relaxed);
            self.migration.tell(Phase::Survey, count + other.load(Ordering::Relaxed), 0);
        };
        let source = survey::each(
            self.migration.from,
            (self.keys.clone(), Shared::new()),
            |(keys, shared), columns, _| shared.insert(keys.of_columns(columns)),
            |count| tell(&seen_here, count, &seen_there),
        );
        let target = survey::each(
            self.to,
            Target {
                keys: self.keys.clone(),
                digester: self.digester.clone(),
                filter: None,
                sum: Sum::default(),
            },
            Target::see,
            |count| tell(&seen_there, count, &seen_here),
        );
        let source = source.map_err(MigrationError::Source);
        let target = target.map_err(MigrationError::Target);
        let (source, target) = future::try_join(source, target).await?;
        ((_, self.shared), self.total, self.report.damage) = source;
        let (target, count, damage) = target;
        (self.in_target, self.expected) = (target.filter, target.sum);
        self.report.target_damage = damage;
        self.migration.tell(Phase::Survey, self.total + count, 0);
        Ok(())
    }

    async fn move_all(&mut self) -> Result<(), MigrationError> {
        let from = self.migration.from;
        let mut pages = Pages::of(from, self.page_size).await.map_err(MigrationError::Source)?;
        while let Some(page) = pages.take() {
            let next = page.next.as_ref();
            let moving = self.move_page(page.entries);
            pages.meanwhile(next, moving).await.map_err(MigrationError::Source)??;
            self.migration.tell(Phase::Move, self.report.read, self.total.max(self.report.read));
        }
        self.catch_up();
        for (id, entry) in std::mem::take(&mut self.waiting) {
            self.settle(id, entry, true).await?;
        }
        Ok(())
    }

    /// Moves a page: at once what has nothing in common with anything, the rest one by one.
    async fn move_page(&mut self, page: Vec<Entry>) -> Result<(), MigrationError> {
        self.report.read += page.len() as u64;
        let there = match self.in_target {
            Some(_) => {
                let ids: Vec<_> = page.iter().filter_map(|entry| entry.token.id()).collect();
                self.same_ids.among(&ids).await.map_err(MigrationError::Target)?
            }
            None => Vec::new(),
        };
        let mut there = there.into_iter().peekable();
        let (mut plain, mut delicate) = (Vec::new(), Vec::new());
        for (at, entry) in page.iter().enumerate() {
            let id = entry.token.id();
            while there.next_if(|stored| stored.token.id() < id).is_some() {}
            let keys = self.keys.of(&entry.token);
            if self.shared.has(keys) {
                let same_id = page[..at].iter().rev().take_while(|other| other.token.id() == id);
                match id {
                    Some(id) if same_id.into_iter().any(|other| other.token == entry.token) => {
                        self.report.merge(id, id);
                    }
                    _ => delicate.push(at),
                }
            } else if !self.is_in_target(keys) {
                plain.push(at);
            } else if there.peek().is_some_and(|stored| self.is_whole(entry, stored)) {
                self.report.unchanged += 1;
            } else {
                delicate.push(at);
            }
        }
        let page = Arc::new(page);
        self.insert_all(&page, plain, &mut delicate).await?;
        if !delicate.is_empty() {
            self.catch_up();
        }
        for at in delicate {
            self.move_one(&page[at], &page).await?;
        }
        Ok(())
    }

    fn is_in_target(&self, keys: [Option<u64>; matching::KEYS.len()]) -> bool {
        let Some(filter) = &self.in_target else { return false };
        keys.into_iter().flatten().any(|hash| filter.has(hash))
    }

    /// Whether what is `stored` is all that there is to move of `entry`.
    fn is_whole(&self, entry: &Entry, stored: &Entry) -> bool {
        entry.token == stored.token
            && (stored.state.is_some() || entry.state.is_none() || !self.keeps_state())
    }

    fn keeps_state(&self) -> bool {
        self.to.shared().is_some()
    }

    /// Saves those that are new, at once. What the target does not take is looked at again.
    async fn insert_all(
        &mut self,
        page: &Arc<Vec<Entry>>,
        plain: Vec<usize>,
        delicate: &mut Vec<usize>,
    ) -> Result<(), MigrationError> {
        if self.migration.dry_run {
            self.report.moved += plain.len() as u64;
            return Ok(());
        }
        if plain.is_empty() {
            return Ok(());
        }
        let entries = if plain.len() == page.len() {
            Arc::clone(page)
        } else {
            Arc::new(plain.iter().map(|at| page[*at].clone()).collect())
        };
        let saving = self.to.save_entries(&entries);
        // What was saved before is summed up while this is being saved.
        let (answers, ()) = future::join(saving, async { self.catch_up() }).await;
        let answers = answers.map_err(MigrationError::Target)?;
        let mut saved = Vec::with_capacity(answers.len());
        for (place, (answer, at)) in answers.into_iter().zip(plain).enumerate() {
            match answer {
                Ok(stored) => saved.push((place, stored.id().cloned())),
                Err(_refused) => delicate.push(at),
            }
        }
        self.behind = Some(Behind { entries, saved });
        Ok(())
    }

    /// Counts what was saved at once.
    fn catch_up(&mut self) {
        let Some(Behind { entries, saved }) = self.behind.take() else { return };
        for (place, id) in saved {
            let entry = &entries[place];
            self.inserted(entry, entry.token.id(), id.as_ref());
        }
    }

    /// Moves an entry that has something in common with another one, or was refused.
    async fn move_one(&mut self, entry: &Entry, page: &[Entry]) -> Result<(), MigrationError> {
        let Some(id) = entry.token.id().cloned() else { return Ok(()) };
        let merged = if self.shared.has(self.keys.of(&entry.token)) {
            let group = Group::of(entry, page, self.migration.from).await;
            let group = group.map_err(MigrationError::Source)?;
            if group.leader != entry.token {
                self.report.merge(group.leader.id().unwrap_or(&id), &id);
                return Ok(());
            }
            group.merged
        } else {
            entry.clone()
        };
        self.settle(id, merged, false).await
    }

    /// Does with an entry what the rules say, where the target is as it is now. `last`, if all that
    /// can keep their numbers have them.
    async fn settle(
        &mut self,
        id: TokenId,
        merged: Entry,
        last: bool,
    ) -> Result<(), MigrationError> {
        let known = related(self.to, &merged.token).await.map_err(MigrationError::Target)?;
        // What has nothing but its id in common with another token is another token.
        let nameless = merged.token.clone().without_id();
        match matching::plan_save(&nameless, &known) {
            Ok(SavePlan::Insert) => {
                let taken = known.iter().any(|stored| stored.id() == Some(&id));
                self.insert(id, merged, taken, last).await
            }
            Ok(SavePlan::Update { id: to, merged: after, absorbs }) => {
                self.update(&id, merged, Update { to, after: *after, absorbs }, &known).await
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.report.refused.push(Refused::new(id, error));
                Ok(())
            }
        }
    }

    /// Saves what is new to the target: under its own id, if the target takes that.
    async fn insert(
        &mut self,
        id: TokenId,
        entry: Entry,
        taken: bool,
        last: bool,
    ) -> Result<(), MigrationError> {
        if self.migration.dry_run {
            self.report.moved += 1;
            self.report.rename(&id, Some(&id).filter(|_| !taken));
            return Ok(());
        }
        if !taken && let Ok(stored) = self.save(&entry).await? {
            self.inserted(&entry, Some(&id), stored.id());
            return Ok(());
        }
        // Texts come after all numbers.
        if !last && id.number().is_some() {
            self.waiting.push((id, entry));
            return Ok(());
        }
        let free = Entry::new(entry.token.clone().without_id());
        match self.save(&free.with_state(entry.state.clone())).await? {
            Ok(stored) => self.inserted(&entry, Some(&id), stored.id()),
            Err(error) => self.report.refused.push(Refused::new(id, error)),
        }
        Ok(())
    }

    async fn save(&self, entry: &Entry) -> Result<Result<OAuthToken, StoreError>, MigrationError> {
        let saved = self.to.save_entries(std::slice::from_ref(entry)).await;
        let mut answers = saved.map_err(MigrationError::Target)?;
        Ok(answers.pop().unwrap_or_else(|| {
            let error = StoreError::new(StoreErrorKind::Other, "the store did not say what it did");
            Err(error.with_outcome(tokenkeep_core::Outcome::Unknown))
        }))
    }

    fn inserted(&mut self, entry: &Entry, from: Option<&TokenId>, to: Option<&TokenId>) {
        self.report.moved += 1;
        let Some((from, to)) = from.zip(to) else { return };
        self.report.rename(from, Some(to));
        if entry.token.id() == Some(to) {
            self.expect(&entry.token, entry.state.as_ref());
        } else {
            self.expect(&entry.token.clone().with_id(to.clone()), entry.state.as_ref());
        }
    }

    /// The target has to hold this.
    fn expect(&mut self, token: &OAuthToken, state: Option<&TokenState>) {
        let kept = state.filter(|_| self.keeps_state());
        self.report.states_left += u64::from(state.is_some() && kept.is_none());
        self.expected.add(self.digester.of(token, kept));
    }

    /// Saves over what the target has, if that has to become another and may.
    async fn update(
        &mut self,
        id: &TokenId,
        entry: Entry,
        update: Update,
        known: &[OAuthToken],
    ) -> Result<(), MigrationError> {
        let Update { to, after, absorbs } = update;
        let stored = match matching::only(known, &to) {
            Ok(stored) => stored,
            Err(error) => {
                self.report.refused.push(Refused::new(id.clone(), error));
                return Ok(());
            }
        };
        let state = self.state_of(&to).await?;
        let as_it_is = Entry::new(stored.clone()).with_state(state.clone());
        let becomes = Entry::new(after.clone()).with_state(entry.state.clone());
        if absorbs.is_none() && self.is_whole(&becomes, &as_it_is) {
            self.report.unchanged += 1;
            self.report.rename(id, Some(&to));
            return Ok(());
        }
        if !self.migration.overwrite && (absorbs.is_some() || loses(stored, &after)) {
            self.report.conflicts.push(Conflict::new(id.clone(), to));
            return Ok(());
        }
        if !self.migration.dry_run {
            let mut gone = vec![(stored.clone(), state.clone())];
            if let Some(absorbed) = known.iter().find(|token| token.id() == absorbs.as_ref()) {
                let state = match absorbed.id() {
                    Some(id) => self.state_of(id).await?,
                    None => None,
                };
                gone.push((absorbed.clone(), state));
            }
            let known_state = gone.iter().find_map(|(_, state)| state.clone());
            // As it was planned: by its id it would not take a nameless record in.
            let over = Entry::new(entry.token.clone().without_id());
            if let Err(error) = self.save(&over.with_state(entry.state.clone())).await? {
                self.report.refused.push(Refused::new(id.clone(), error));
                return Ok(());
            }
            for (token, state) in &gone {
                self.expected.remove(self.digester.of(token, state.as_ref()));
            }
            self.expect(&after, known_state.or(entry.state).as_ref());
        }
        self.report.updated += 1;
        self.report.rename(id, Some(&to));
        Ok(())
    }

    /// What the target knows of one of its tokens.
    async fn state_of(&self, id: &TokenId) -> Result<Option<TokenState>, MigrationError> {
        let state = state_of(self.to, Some(id)).await.map_err(MigrationError::Target)?;
        Ok(state.map(|mut state| {
            state.in_flight = None;
            state
        }))
    }

    /// Reads the target back.
    async fn verify(&mut self) -> Result<(), MigrationError> {
        let expected = self.expected;
        let tell = |count| self.migration.tell(Phase::Verify, count, expected.count.max(count));
        let found = survey::each(
            self.to,
            (self.digester.clone(), Sum::default()),
            |(digester, found), columns, state| found.add(digester.of_columns(columns, state)),
            tell,
        );
        let ((_, found), count, _) = found.await.map_err(MigrationError::Target)?;
        tell(count);
        let same = found == expected;
        self.report.verification = Some(Verification::new(expected.count, found.count, same));
        Ok(())
    }
}

/// What the target has.
struct Target {
    keys: Keys,
    digester: Digester,
    /// Its values; nothing, if it is empty.
    filter: Option<Filter>,
    sum: Sum,
}

impl Target {
    fn see(&mut self, columns: &Columns<'_>, state: Option<&TokenState>) {
        let filter = self.filter.get_or_insert_with(Filter::new);
        for hash in self.keys.of_columns(columns).into_iter().flatten() {
            filter.insert(hash);
        }
        self.sum.add(self.digester.of_columns(columns, state));
    }
}

/// What a save does to a token of the target.
struct Update {
    to: TokenId,
    after: OAuthToken,
    absorbs: Option<TokenId>,
}

/// Whether a value of `before` is another one, or none, `after`.
fn loses(before: &OAuthToken, after: &OAuthToken) -> bool {
    let (old, new) = (before.expose_columns(), after.expose_columns());
    Field::ALL
        .into_iter()
        .skip(1)
        .any(|field| old[field as usize].is_some() && old[field as usize] != new[field as usize])
}
