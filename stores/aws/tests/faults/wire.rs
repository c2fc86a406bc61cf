//! Each request of each operation is cut off in turn, before it gets there and after: what the
//! operation then claims has to be what a second connection sees.

use std::time::Duration;

use tokenkeep_core::{
    Lease, LeaseAttempt, OAuthToken, Outcome, Replaced, StateReplaced, StoreError, TokenId,
    TokenState, TokenStore,
};
use tokenkeep_servers::proxy::{Fault, Proxy};

use crate::{name, secret, table, token};

/// More requests than any operation makes.
const MANY: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum Work {
    SaveNew,
    SaveOver,
    Delete,
    Replace,
    State,
    Lease,
}

pub(crate) async fn dynamodb(moto: u16) {
    let name = name();
    table(&name, moto).create_table().await.expect("a table");
    let proxy = Proxy::start(([127, 0, 0, 1], moto).into()).await.expect("a proxy");
    let store = table(&name, proxy.address().port()).open().await.expect("a store");
    let witness = table(&name, moto).open().await.expect("a store");
    for work in
        [Work::SaveNew, Work::SaveOver, Work::Delete, Work::Replace, Work::State, Work::Lease]
    {
        check(&proxy, &store, &witness, work).await;
    }
    let inspection = witness.inspect().await.expect("it is looked over");
    assert!(inspection.not_findable.is_empty() && inspection.duplicates.is_empty());
    assert_eq!((inspection.dangling, inspection.damage.len()), (0, 0));
}

pub(crate) async fn secretsmanager(moto: u16) {
    let name = name();
    let proxy = Proxy::start(([127, 0, 0, 1], moto).into()).await.expect("a proxy");
    let store = secret(&name, proxy.address().port()).open().await.expect("a store");
    let witness = secret(&name, moto).open().await.expect("a store");
    for work in [Work::SaveNew, Work::SaveOver, Work::Delete] {
        check(&proxy, &store, &witness, work).await;
    }
    assert!(witness.delete_secret(Some(7)).await.expect("an answer"));
    let error = store.get_tokens().await.unwrap_err();
    assert!(error.to_string().contains("scheduled for deletion"), "{error}");
}

async fn check(proxy: &Proxy, store: &dyn TokenStore, witness: &dyn TokenStore, work: Work) {
    for after in [false, true] {
        for number in 1..=MANY {
            proxy.set(Fault::None);
            let user = format!("{work:?}-{after}-{number}");
            let before = match work {
                Work::SaveNew => None,
                Work::SaveOver | Work::Delete | Work::Replace | Work::State | Work::Lease => {
                    Some(witness.save_token(&token(&user, &user)).await.expect("it is saved"))
                }
            };
            proxy.cut_all();
            proxy.set(if after { Fault::CutAfter(number) } else { Fault::CutBefore(number) });
            let claim = run(store, work, &user, before.as_ref()).await;
            let was_cut = proxy.requests() >= number;
            proxy.set(Fault::None);
            let is_applied = applied(witness, work, &user, before.as_ref()).await;
            let what = format!("{work:?}, request {number}, after: {after}: {claim:?}");
            match claim {
                Ok(()) => assert!(is_applied, "{what}, but it is not there"),
                Err(error) if error.outcome() == Outcome::Unknown => {}
                Err(_error) => assert!(!is_applied, "{what}, but it is there"),
            }
            // And it goes on.
            let next = store.save_token(&token(&user, "next")).await.expect("it works again");
            assert_eq!(next.access_token(), token(&user, "next").access_token());
            if !was_cut {
                assert!(number > 1, "{what}: nothing was asked");
                break;
            }
        }
    }
}

async fn run(
    store: &dyn TokenStore,
    work: Work,
    user: &str,
    before: Option<&OAuthToken>,
) -> Result<(), StoreError> {
    let id = before.and_then(OAuthToken::id);
    let new = token(user, &format!("{user}-new"));
    match (work, before.zip(id)) {
        (Work::SaveNew | Work::SaveOver, _) => store.save_token(&new).await.map(drop),
        (Work::Delete, Some((_, id))) => {
            assert!(store.delete_token(id).await?, "it was there");
            Ok(())
        }
        (Work::Replace, Some((before, _))) => {
            let shared = store.shared().expect("it coordinates");
            let replaced = shared.replace_token(before, &new, None).await?;
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

async fn granted(store: &dyn TokenStore, id: &TokenId) -> Result<Option<Lease>, StoreError> {
    let shared = store.shared().expect("it coordinates");
    let attempt = shared.try_lease(id, "a", Duration::from_secs(600)).await?;
    Ok(if let LeaseAttempt::Granted(lease) = attempt { Some(lease) } else { None })
}

/// Whether it is done, as another connection sees it.
async fn applied(
    witness: &dyn TokenStore,
    work: Work,
    user: &str,
    before: Option<&OAuthToken>,
) -> bool {
    let new = token(user, &format!("{user}-new"));
    let query = tokenkeep_core::TokenQuery::user(user).expect("a query");
    let stored = witness.find_token(&query).await.expect("an answer");
    match (work, before.and_then(OAuthToken::id)) {
        (Work::SaveNew | Work::SaveOver | Work::Replace, _) => {
            stored.is_some_and(|stored| stored.access_token() == new.access_token())
        }
        (Work::Delete, _) => stored.is_none(),
        (Work::State, Some(id)) => {
            let shared = witness.shared().expect("it coordinates");
            shared.state(id).await.expect("an answer").is_some()
        }
        (Work::Lease, Some(id)) => granted(witness, id).await.expect("an answer").is_none(),
        (_, None) => panic!("there is no token"),
    }
}
