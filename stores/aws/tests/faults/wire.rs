//! Each request of each operation is cut off in turn, before it gets there and after, or comes late:
//! what the operation then claims has to be what a second connection sees.

use std::time::Duration;

use tokenkeep_core::TokenStore;
use tokenkeep_servers::proxy::{Fault, Proxy};

use crate::{
    name, secret, table,
    work::{self, Work},
};

/// More requests than any operation makes.
const MANY: u64 = 40;

pub(crate) async fn dynamodb(moto: u16) {
    let name = name();
    table(&name, moto).create_table().await.expect("a table");
    let proxy = Proxy::start(([127, 0, 0, 1], moto).into()).await.expect("a proxy");
    let store = table(&name, proxy.address().port()).open().await.expect("a store");
    let witness = table(&name, moto).open().await.expect("a store");
    for work in Work::COMMON {
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
    for work in Work::ALL {
        check(&proxy, &store, &witness, work).await;
    }
    // Slow is not lost.
    proxy.set(Fault::Delay(Duration::from_millis(100)));
    work::play(&store, &witness, Work::Fold, "late").await.expect("it is done in the end");
    // What was left by those that were given up is removed, and nothing else.
    proxy.set(Fault::None);
    let tokens = witness.get_tokens().await.expect("they are there");
    witness.sweep(Duration::ZERO).await.expect("an answer");
    assert_eq!(witness.get_tokens().await.expect("they are there"), tokens);
    let secrets = witness.delete_secrets(Some(7)).await.expect("an answer");
    assert_eq!(secrets, tokens.len() as u64 + 2, "a secret a token, the index and the root");
    let error = secret(&name, moto).open().await.unwrap_err();
    assert!(error.to_string().contains("scheduled for deletion"), "{error}");
}

async fn check(proxy: &Proxy, store: &dyn TokenStore, witness: &dyn TokenStore, work: Work) {
    for after in [false, true] {
        for number in 1..=MANY {
            proxy.set(Fault::None);
            let user = format!("{work:?}-{after}-{number}");
            let scene = work::prepare(witness, work, &user).await;
            proxy.cut_all();
            proxy.set(if after { Fault::CutAfter(number) } else { Fault::CutBefore(number) });
            let claim = scene.run(store).await;
            let was_cut = proxy.requests() >= number;
            proxy.set(Fault::None);
            scene.check(witness, &claim, &format!("request {number}, after: {after}")).await;
            scene.go_on(store).await;
            if !was_cut {
                assert!(number > 1, "{work:?}: nothing was asked");
                break;
            }
        }
    }
}
