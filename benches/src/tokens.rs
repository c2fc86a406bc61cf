//! The tokens that the stores hold: as long as Zoho's.

use anyhow::Result;
use tokenkeep_core::OAuthToken;

/// The ten columns of the token with the id `number`, after `round` refreshes.
pub(crate) fn columns(number: usize, round: usize) -> [String; 10] {
    [
        number.to_string(),
        user(number),
        "1000.TESTCLIENT".to_owned(),
        "test-client-secret".to_owned(),
        format!("1000.test-refresh-token-{number:046}"),
        format!("1000.test-access-token-{round:08}-{number:038}"),
        format!("1000.test-grant-token-{number:048}"),
        "4102444800000".to_owned(),
        "https://example.com/callback".to_owned(),
        "https://www.zohoapis.com".to_owned(),
    ]
}

/// The same of a token whose secrets stand in no order, as Zoho's do: indices of them grow in all
/// places.
pub(crate) fn random(number: usize) -> [String; 10] {
    let mut seed = number as u64;
    let mut secret = |kind: &str| {
        let mut digits = || {
            // SplitMix64.
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        format!("1000.{:016x}{:016x}.test-{kind}-{:016x}", digits(), digits(), digits())
    };
    let mut columns = columns(number, 0);
    columns[4] = secret("refresh");
    columns[5] = secret("access");
    columns[6] = secret("grant");
    columns
}

/// The user whose token has this id.
pub(crate) fn user(number: usize) -> String {
    format!("user{number}@example.com")
}

/// How long the ten values of a token are, of the last of `count`.
pub(crate) fn bytes(count: usize) -> f64 {
    columns(count, 0).iter().map(String::len).sum::<usize>() as f64
}

/// The token as a program hands it to a store after a refresh: without an id.
pub(crate) fn token(number: usize, round: usize) -> Result<OAuthToken> {
    let mut columns = columns(number, round).map(Some);
    columns[0] = None;
    Ok(OAuthToken::from_columns(columns)?)
}

/// The numbers of the users that are asked for: at most `users`, in no order, all over the store.
///
/// As many at each size means that between two sizes the store differs and not how many are asked
/// for; all of them at each size adds what the processor's and SQLite's caches do not hold.
pub(crate) fn spread(count: usize, users: usize) -> Vec<usize> {
    let asked = count.min(users);
    (0..asked).map(|index| (index * 7_919 % asked) * (count / asked) + 1).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_hundred_users_are_asked_for_all_over_the_store() {
        for (count, asked) in [(1, 1), (10, 10), (1_000, 100), (100_000, 100)] {
            let numbers = spread(count, 100);
            assert!(numbers.iter().all(|number| (1..=count).contains(number)));
            assert_eq!(numbers.into_iter().collect::<HashSet<_>>().len(), asked);
        }
    }
}
