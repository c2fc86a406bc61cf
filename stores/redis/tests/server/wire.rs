//! Connections that break at any moment.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokenkeep_core::{
    LeaseAttempt, OAuthToken, Outcome, Replaced, SharedStore, StateReplaced, StoreError,
    StoreErrorKind, TokenId, TokenState, TokenStore,
};
use tokenkeep_servers::{
    Address,
    proxy::{Fault, Proxy},
};
use tokenkeep_store_redis::RedisStore;

use crate::scene::{config, prefix, shows_no_secret, token, user};

/// What is done while the connection breaks.
#[derive(Clone, Copy, Debug)]
enum Job {
    Add,
    Update,
    Replace,
    State,
    Lease,
    Delete,
}

/// What is stored of the user, as a second connection sees it.
#[derive(Debug, PartialEq)]
struct Stored {
    token: Option<OAuthToken>,
    state: Option<TokenState>,
}

impl Stored {
    async fn of(store: &RedisStore, name: &str) -> Self {
        let token = store.find_token(&user(name)).await.unwrap();
        let state = match token.as_ref().and_then(OAuthToken::id) {
            Some(id) => store.state(id).await.unwrap(),
            None => None,
        };
        Self { token, state }
    }
}

impl Job {
    /// Does it; whether it says that it was done.
    async fn run(
        self,
        store: &RedisStore,
        name: &str,
        before: Option<&OAuthToken>,
    ) -> Result<bool, StoreError> {
        let id = || before.and_then(OAuthToken::id).unwrap();
        match self {
            Self::Add | Self::Update => store.save_token(&token(name, "new")).await.map(|_| true),
            Self::Replace => {
                let replaced =
                    store.replace_token(before.unwrap(), &token(name, "new"), None).await?;
                Ok(matches!(replaced, Replaced::Saved(_)))
            }
            Self::State => {
                let replaced = store.replace_state(id(), None, &state()).await?;
                Ok(replaced == StateReplaced::Written)
            }
            Self::Lease => {
                let ttl = Duration::from_secs(600);
                let attempt = store.try_lease(id(), "holder", ttl).await?;
                Ok(matches!(attempt, LeaseAttempt::Granted(_)))
            }
            Self::Delete => store.delete_token(id()).await,
        }
    }

    /// Whether what is stored is what it is after the job.
    async fn is_done(self, store: &RedisStore, name: &str, id: Option<&TokenId>) -> bool {
        let stored = Stored::of(store, name).await;
        match self {
            Self::Add | Self::Update | Self::Replace => stored.token.is_some_and(|stored| {
                let access = stored.access_token().map(|access| access.expose_secret().to_owned());
                access == Some(format!("test-access-{name}-new"))
            }),
            Self::State => stored.state == Some(state()),
            Self::Lease => {
                let attempt = store.try_lease(id.unwrap(), "other", Duration::from_secs(1)).await;
                matches!(attempt.unwrap(), LeaseAttempt::Held { .. })
            }
            Self::Delete => stored.token.is_none(),
        }
    }
}

fn state() -> TokenState {
    let mut state = TokenState::default();
    state.org_id = Some("42".to_owned());
    state
}

pub(crate) async fn cut_at_any_request(nodes: Vec<Address>) {
    let node = &nodes[0];
    let upstream: SocketAddr = format!("{}:{}", node.host, node.port).parse().unwrap();
    let (prefix, proxy) = (prefix(), Arc::new(Proxy::start(upstream).await.unwrap()));
    let direct = config(node, &prefix).open().await.unwrap();
    let through = config(node, &prefix).port(proxy.address().port()).open().await.unwrap();
    let (mut unknown, mut done) = (Vec::new(), 0);
    for job in [Job::Add, Job::Update, Job::Replace, Job::State, Job::Lease, Job::Delete] {
        for after in [false, true] {
            for number in 1.. {
                let name = format!("alice-{job:?}-{after}-{number}");
                let before = if matches!(job, Job::Add) {
                    None
                } else {
                    Some(direct.save_token(&token(&name, "old")).await.unwrap())
                };
                proxy.set(if after { Fault::CutAfter(number) } else { Fault::CutBefore(number) });
                let result = job.run(&through, &name, before.as_ref()).await;
                let needed = proxy.requests();
                proxy.set(Fault::None);
                let id = before.as_ref().and_then(OAuthToken::id);
                let is_done = job.is_done(&direct, &name, id).await;
                match result {
                    Ok(says) => {
                        assert_eq!(says, is_done, "{name}");
                        done += 1;
                    }
                    Err(error) => {
                        shows_no_secret(&error);
                        if error.outcome() == Outcome::Unknown {
                            unknown.push((format!("{job:?}"), after));
                        } else {
                            assert!(!is_done, "{name}: {error:?}");
                        }
                    }
                }
                // It works again.
                through.save_token(&token("somebody", "0")).await.unwrap();
                if needed < number {
                    break;
                }
                assert!(number < 20, "{job:?} needs more and more requests");
            }
        }
    }
    // What is changed tells by itself whether it was; what is added and did not arrive, and what is
    // removed, does not.
    unknown.dedup();
    let expected = [("Add", false), ("Delete", false), ("Delete", true)];
    assert_eq!(unknown, expected.map(|(job, after)| (job.to_owned(), after)));
    assert!(done > 20, "{done}");
}

pub(crate) async fn stalled(nodes: Vec<Address>) {
    let node = &nodes[0];
    let upstream: SocketAddr = format!("{}:{}", node.host, node.port).parse().unwrap();
    let (prefix, proxy) = (prefix(), Proxy::start(upstream).await.unwrap());
    let limit = Duration::from_secs(1);
    let store = config(node, &prefix).port(proxy.address().port()).timeout(limit);
    let store = store.open().await.unwrap();
    let saved = store.save_token(&token("alice", "0")).await.unwrap();
    proxy.set(Fault::Stall);
    #[expect(clippy::disallowed_methods, reason = "a span is measured, nothing is dated")]
    let begun = std::time::Instant::now();
    for error in [
        store.find_token(&user("alice")).await.unwrap_err(),
        store.save_token(&token("alice", "1")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        shows_no_secret(&error);
    }
    assert!(begun.elapsed() < 4 * limit, "{:?}", begun.elapsed());
    proxy.set(Fault::None);
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(saved));
}
