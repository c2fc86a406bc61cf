//! Random operations of both sides on one store, against a model of what must be stored.

use std::collections::BTreeMap;

use tokenkeep_core::{Field, Replaced, TokenId, TokenState, update_state};

use crate::{
    scene::{Kind, Ours, Scene, queries, sdk_queries},
    sdk::Sdk,
    token::{Columns, in_order},
};

const SEEDS: [u64; 3] = [1, 2, 3];
const STEPS: usize = 200;
/// On a server, where each step takes a hundred times as long.
const STEPS_ON_A_SERVER: usize = 60;
const USERS: u64 = 14;

pub(crate) async fn random_operations_of_both_leave_what_they_should(mut scene: Scene) {
    let steps = if scene.kind == Kind::Mysql { STEPS_ON_A_SERVER } else { STEPS };
    for seed in SEEDS {
        let ours = scene.open_ours().await;
        ours.delete_all().await;
        // The article's store takes a table without a row for none and cannot open it.
        let first = ours.save(&Columns::of("user0@example.com", format!("{seed}-first"))).await;
        scene.open_sdk();
        let mut play = Play {
            scene: &mut scene,
            ours,
            rows: BTreeMap::from([(first.id(), first)]),
            states: BTreeMap::new(),
            random: Random(seed),
            seed,
            marks: 0,
            log: Vec::new(),
        };
        for _ in 0..steps {
            play.step().await;
            play.check().await;
        }
    }
}

struct Play<'a> {
    scene: &'a mut Scene,
    ours: Ours,
    /// What must be stored.
    rows: BTreeMap<TokenId, Columns>,
    /// What we wrote beside a token, and whose it was then.
    states: BTreeMap<TokenId, Written>,
    random: Random,
    seed: u64,
    marks: u64,
    /// What was done, for who has to read a failure.
    log: Vec<String>,
}

struct Written {
    user: String,
    state: TokenState,
    /// Whether the token has been there ever since. If not, we may remember it or not.
    is_certain: bool,
}

impl Play<'_> {
    async fn step(&mut self) {
        match self.random.below(100) {
            0..22 => self.save_by_us().await,
            22..46 => self.save_by_sdk(),
            46..52 => self.delete(true).await,
            52..58 => self.delete(false).await,
            58..66 => self.replace().await,
            66..74 => self.write_state().await,
            74..86 => self.find_by_us().await,
            86..98 => self.find_by_sdk(),
            98 => self.delete_all(true).await,
            _ => self.delete_all(false).await,
        }
    }

    async fn save_by_us(&mut self) {
        let given = self.token_to_save();
        self.log.push(format!("we save {}", given.user()));
        let saved = self.ours.save(&given).await;
        match self.row_of(given.user()) {
            Some(row) => assert_eq!(saved, row.merged(&given), "{}", self.story()),
            None => {
                let largest = self.rows.keys().filter_map(TokenId::number).max().unwrap_or(0);
                let id = saved.id().number().unwrap();
                assert!(id > largest, "{id} is not past {largest}: {}", self.story());
                assert_eq!(saved, given.with(Field::Id, saved.get(Field::Id)), "{}", self.story());
                self.states.remove(&saved.id());
            }
        }
        self.rows.insert(saved.id(), saved);
    }

    fn save_by_sdk(&mut self) {
        let given = self.token_to_save();
        self.log.push(format!("the SDK saves {}", given.user()));
        let saved = self.sdk().try_save(&given);
        if let Some(row) = self.row_of(given.user()) {
            saved.unwrap();
            let merged = row.merged(&given);
            self.rows.insert(merged.id(), merged);
            return;
        }
        let largest = if self.scene.kind.counts_by_text() {
            self.rows.keys().max_by_key(|id| id.as_str()).and_then(TokenId::number)
        } else {
            self.rows.keys().filter_map(TokenId::number).max()
        };
        let id = TokenId::from_number(largest.unwrap_or(0) + 1);
        if self.rows.contains_key(&id) {
            // The SDK counts by text: it fails, and changes nothing.
            saved.unwrap_err();
            return;
        }
        let saved = saved.unwrap();
        assert_eq!(saved, given.with(Field::Id, id.as_str()), "{}", self.story());
        self.rows.insert(id, saved);
    }

    async fn replace(&mut self) {
        let Some(row) = self.any_row() else { return };
        let given = self.token_to_save_for(row.user(), &row);
        self.log.push(format!("we replace {}", row.user()));
        let replaced =
            self.ours.shared().replace_token(&row.token(), &given.token(), None).await.unwrap();
        let merged = row.merged(&given);
        assert_eq!(replaced, Replaced::Saved(merged.token()), "{}", self.story());
        self.rows.insert(merged.id(), merged);
    }

    async fn write_state(&mut self) {
        let Some(row) = self.any_row() else { return };
        let org = format!("org-{}", self.mark());
        self.log.push(format!("we write the state of {}", row.user()));
        let change = |state: &mut TokenState| state.org_id = Some(org.clone());
        let written = update_state(self.ours.shared(), &row.id(), change).await.unwrap();
        let Some(state) = written else { unreachable!("{}", self.story()) };
        let user = row.user().to_owned();
        self.states.insert(row.id(), Written { user, state, is_certain: true });
    }

    async fn delete(&mut self, by_us: bool) {
        let Some(row) = self.any_row() else { return };
        self.log.push(format!("{} {}", if by_us { "we delete" } else { "SDK deletes" }, row.id()));
        if by_us {
            assert!(self.ours.delete(&row.id()).await, "{}", self.story());
        } else {
            self.sdk().delete(&row.id());
        }
        self.rows.remove(&row.id());
        self.states
            .values_mut()
            .for_each(|written| written.is_certain &= written.user != row.user());
    }

    async fn delete_all(&mut self, by_us: bool) {
        self.log.push(format!("{} all", if by_us { "we delete" } else { "SDK deletes" }));
        if by_us {
            assert_eq!(self.ours.delete_all().await, self.rows.len() as u64, "{}", self.story());
        } else {
            self.sdk().delete_all();
        }
        self.rows.clear();
        self.states.values_mut().for_each(|written| written.is_certain = false);
    }

    async fn find_by_us(&mut self) {
        let Some(row) = self.any_row() else { return };
        for query in queries(&row) {
            assert_eq!(self.ours.find(&query).await.as_ref(), Some(&row), "{}", self.story());
        }
        assert_eq!(self.ours.find_by_id(&row.id()).await.as_ref(), Some(&row), "{}", self.story());
    }

    fn find_by_sdk(&mut self) {
        let Some(row) = self.any_row() else { return };
        for query in sdk_queries(&row) {
            assert_eq!(self.sdk().find(&query).as_ref(), Some(&row), "{}", self.story());
        }
        assert_eq!(self.sdk().find_by_id(&row.id()).unwrap(), row, "{}", self.story());
    }

    /// Both sides see the model, and what we wrote beside a token is there for its owner only.
    async fn check(&mut self) {
        let expected: Vec<_> = self.rows.values().cloned().collect();
        self.ours.settle(&expected).await;
        assert_eq!(self.ours.tokens().await, expected, "what we see: {}", self.story());
        let theirs: Vec<_> = self.scene.sdks().map(|sdk| in_order(sdk.tokens())).collect();
        for theirs in theirs {
            assert_eq!(theirs, expected, "what the SDK sees: {}", self.story());
        }
        for (id, row) in &self.rows {
            let state = self.ours.shared().state(id).await.unwrap();
            match self.states.get(id) {
                Some(written) if written.user == row.user() => {
                    if written.is_certain {
                        assert_eq!(state.as_ref(), Some(&written.state), "{}", self.story());
                    }
                }
                _ => assert_eq!(state, None, "state of {id}: {}", self.story()),
            }
        }
    }

    /// A new token for a user who has none, or some new values for one who has.
    fn token_to_save(&mut self) -> Columns {
        let user = format!("user{}@example.com", self.random.below(USERS));
        match self.row_of(&user).cloned() {
            Some(row) => self.token_to_save_for(&user, &row),
            None => {
                let mut token = Columns::of(&user, self.mark());
                for field in [Field::GrantToken, Field::RedirectUrl, Field::ExpiryTime] {
                    if self.random.below(4) == 0 {
                        token = token.without(field);
                    }
                }
                token
            }
        }
    }

    fn token_to_save_for(&mut self, user: &str, row: &Columns) -> Columns {
        let new = Columns::of(user, self.mark());
        let mut token = Columns::update(user, self.mark());
        for field in [Field::RefreshToken, Field::GrantToken, Field::RedirectUrl] {
            if self.random.below(4) == 0 {
                token = token.with(field, new.get(field));
            }
        }
        for field in [Field::ClientId, Field::ClientSecret, Field::ApiDomain] {
            if self.random.below(2) == 0 {
                token = token.with(field, row.get(field));
            }
        }
        token
    }

    /// The SDK in any of its languages.
    fn sdk(&mut self) -> &mut Sdk {
        let others = self.scene.others.len();
        let at = if others == 0 { 0 } else { self.random.below(others as u64 + 1) };
        let at = usize::try_from(at).unwrap();
        self.log.push(format!("by SDK {at}"));
        self.scene.sdks().nth(at).unwrap()
    }

    fn row_of(&self, user: &str) -> Option<&Columns> {
        self.rows.values().find(|row| row.user() == user)
    }

    fn any_row(&mut self) -> Option<Columns> {
        let at = self.random.below(self.rows.len().max(1) as u64);
        self.rows.values().nth(usize::try_from(at).unwrap()).cloned()
    }

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("{}-{}", self.seed, self.marks)
    }

    fn story(&self) -> String {
        format!("seed {}, after: {}", self.seed, self.log.join("; "))
    }
}

/// SplitMix64: the same steps for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}
