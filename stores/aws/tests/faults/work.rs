//! What is done while something goes wrong, and whether it is done.

use std::time::Duration;

use tokenkeep_core::{
    Lease, LeaseAttempt, OAuthToken, Outcome, Replaced, StateReplaced, StoreError, TokenId,
    TokenQuery, TokenState, TokenStore,
};

use crate::token;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    SaveNew,
    SaveOver,
    Delete,
    Replace,
    State,
    Lease,
    /// The user of a token becomes known.
    Name,
    /// A token whose user was not known turns out to be that of a user who has one.
    Fold,
}

impl Work {
    pub(crate) const COMMON: [Self; 6] =
        [Self::SaveNew, Self::SaveOver, Self::Delete, Self::Replace, Self::State, Self::Lease];
    pub(crate) const ALL: [Self; 8] = [
        Self::SaveNew,
        Self::SaveOver,
        Self::Delete,
        Self::Replace,
        Self::State,
        Self::Lease,
        Self::Name,
        Self::Fold,
    ];
}

/// Work of which what it needs is stored.
pub(crate) struct Scene {
    work: Work,
    user: String,
    /// The user's token.
    before: Option<OAuthToken>,
    /// The token whose user is not known.
    nameless: Option<OAuthToken>,
}

/// Prepares, does and checks it.
pub(crate) async fn play(
    store: &dyn TokenStore,
    witness: &dyn TokenStore,
    work: Work,
    user: &str,
) -> Result<(), StoreError> {
    let scene = prepare(witness, work, user).await;
    let claim = scene.run(store).await;
    scene.check(witness, &claim, "at the end").await;
    scene.go_on(store).await;
    claim
}

pub(crate) async fn prepare(witness: &dyn TokenStore, work: Work, user: &str) -> Scene {
    let (mut before, mut nameless) = (None, None);
    if !matches!(work, Work::SaveNew | Work::Name) {
        before = Some(witness.save_token(&token(user, user)).await.expect("it is saved"));
    }
    if matches!(work, Work::Name | Work::Fold) {
        let login = OAuthToken::builder().client("test-client", "test-client-secret");
        let login = login.refresh_token(login_of(user)).build().expect("a token");
        nameless = Some(witness.save_token(&login).await.expect("it is saved"));
    }
    Scene { work, user: user.to_owned(), before, nameless }
}

fn login_of(user: &str) -> String {
    format!("test-refresh-of-a-login-of-{user}")
}

impl Scene {
    fn token(&self) -> OAuthToken {
        let new = token(&self.user, &format!("{}-new", self.user));
        if self.nameless.is_none() {
            return new;
        }
        let login = OAuthToken::builder().refresh_token(login_of(&self.user)).build();
        new.merged_with(&login.expect("a token"))
    }

    pub(crate) async fn run(&self, store: &dyn TokenStore) -> Result<(), StoreError> {
        let before = self.before.as_ref();
        match (self.work, before.zip(before.and_then(OAuthToken::id))) {
            (Work::SaveNew | Work::SaveOver | Work::Name | Work::Fold, _) => {
                store.save_token(&self.token()).await.map(drop)
            }
            (Work::Delete, Some((_, id))) => {
                assert!(store.delete_token(id).await?, "it was there");
                Ok(())
            }
            (Work::Replace, Some((before, _))) => {
                let shared = store.shared().expect("it coordinates");
                let replaced = shared.replace_token(before, &self.token(), None).await?;
                assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
                Ok(())
            }
            (Work::State, Some((_, id))) => {
                let shared = store.shared().expect("it coordinates");
                let written = shared.replace_state(id, None, &TokenState::default()).await?;
                assert_eq!(written, StateReplaced::Written);
                Ok(())
            }
            (Work::Lease, Some((_, id))) => {
                granted(store, id).await?.expect("nobody has it");
                Ok(())
            }
            (_, None) => panic!("there is no token"),
        }
    }

    /// Fails unless what was claimed is so.
    pub(crate) async fn check(
        &self,
        witness: &dyn TokenStore,
        claim: &Result<(), StoreError>,
        when: &str,
    ) {
        let is_applied = self.is_applied(witness).await;
        let what = format!("{:?}, {when}: {claim:?}", self.work);
        match claim {
            Ok(()) => assert!(is_applied, "{what}, but it is not there"),
            Err(error) if error.outcome() == Outcome::Unknown => {}
            Err(_error) => assert!(!is_applied, "{what}, but it is there"),
        }
    }

    /// Whether it is done, as another connection sees it: all of it, or nothing.
    async fn is_applied(&self, witness: &dyn TokenStore) -> bool {
        let query = TokenQuery::user(&*self.user).expect("a query");
        let stored = witness.find_token(&query).await.expect("an answer");
        let is_new = stored.is_some_and(|it| it.access_token() == self.token().access_token());
        let id = self.before.as_ref().and_then(OAuthToken::id);
        match (self.work, id) {
            (Work::SaveNew | Work::SaveOver | Work::Replace, _) => is_new,
            (Work::Delete, Some(id)) => {
                witness.find_token_by_id(id).await.expect("an answer").is_none()
            }
            (Work::State, Some(id)) => {
                let shared = witness.shared().expect("it coordinates");
                shared.state(id).await.expect("an answer").is_some()
            }
            (Work::Lease, Some(id)) => granted(witness, id).await.expect("an answer").is_none(),
            (Work::Name | Work::Fold, _) => {
                let login = self.nameless.as_ref().and_then(OAuthToken::id).expect("an id");
                let login = witness.find_token_by_id(login).await.expect("an answer");
                let is_nameless = login.as_ref().is_some_and(|it| it.user_name().is_none());
                assert_eq!(is_new, !is_nameless, "half of it is done: {login:?}");
                is_new
            }
            (_, None) => panic!("there is no token"),
        }
    }

    /// Fails unless the store works on.
    pub(crate) async fn go_on(&self, store: &dyn TokenStore) {
        let next = token(&self.user, "next");
        let saved = store.save_token(&next).await.expect("it works again");
        assert_eq!(saved.access_token(), next.access_token());
    }
}

async fn granted(store: &dyn TokenStore, id: &TokenId) -> Result<Option<Lease>, StoreError> {
    let shared = store.shared().expect("it coordinates");
    let attempt = shared.try_lease(id, "a", Duration::from_secs(600)).await?;
    Ok(if let LeaseAttempt::Granted(lease) = attempt { Some(lease) } else { None })
}
