//! [`Inspection`]: what a person should know of a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenkeep_core::{Operation, StoreError, TokenId};

use super::{
    items::{COUNTER, PK, Row, TOKENS, ids_of, keys_of, number_of, text_of},
    listing::scan,
    store::DynamoDbStore,
    table::Run,
};

/// What a person should know of a table. It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The table.
    pub table: String,
    /// How it is paid: `PAY_PER_REQUEST`, `PROVISIONED`.
    pub billing: Option<String>,
    /// Whether it cannot be deleted by mistake.
    pub deletion_protection: bool,
    /// The key that encrypts it, if it is not DynamoDB's own.
    pub kms_key: Option<String>,
    /// How many counters of changes it has.
    pub marks: u32,
    /// How many tokens there are.
    pub tokens: u64,
    /// The largest number given as an id.
    pub last_id: u64,
    /// Tokens of one user, client and API domain: a query for them is ambiguous.
    pub duplicates: Vec<Vec<TokenId>>,
    /// Tokens that cannot be found by one of their values, because the item of that key lacks them.
    pub not_findable: Vec<TokenId>,
    /// How often the item of a key lists a token that is not there, as DynamoDB leaves it when it
    /// removes an expired one. The next save of that key mends it.
    pub dangling: u64,
    /// What cannot be read.
    pub damage: Vec<String>,
}

impl DynamoDbStore {
    /// Looks the whole table over: it reads all of it, which costs as much as `get_tokens`. The
    /// store's time limit holds.
    ///
    /// Tokens that others write meanwhile may seem not findable.
    ///
    /// # Errors
    ///
    /// What keeps the table from being read. Damage that leaves it readable is part of the answer.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        self.table.read(Operation::GetTokens, inspect).await
    }
}

async fn inspect(mut run: Run) -> Result<Inspection, StoreError> {
    let table = Arc::clone(&run.table);
    let describe = || table.client.describe_table().table_name(&table.name).send();
    let described = run.ask(describe).await?.table;
    let mut inspection =
        Inspection { table: table.name.clone(), marks: table.marks, ..Inspection::default() };
    if let Some(described) = described {
        let billing = described.billing_mode_summary.and_then(|summary| summary.billing_mode);
        inspection.billing = billing.map(|mode| mode.as_str().to_owned());
        inspection.deletion_protection = described.deletion_protection_enabled.unwrap_or(false);
        inspection.kms_key = described.sse_description.and_then(|sse| sse.kms_master_key_arn);
    }
    let counter = run.item(COUNTER).await?;
    inspection.last_id = counter.and_then(|item| number_of(&item, "last_id")).unwrap_or(0);

    let mut listed: BTreeMap<String, Vec<TokenId>> = BTreeMap::new();
    let mut tokens: BTreeMap<TokenId, Vec<String>> = BTreeMap::new();
    let mut identities: BTreeMap<[Option<String>; 3], Vec<TokenId>> = BTreeMap::new();
    let damage = &mut inspection.damage;
    scan(&mut run, "", &mut |item| {
        let pk = text_of(&item, PK)?.unwrap_or_default().to_owned();
        if pk.starts_with(TOKENS) {
            match Row::parse(item) {
                Ok(row) => {
                    damage.extend(row.entry().err().map(|error| error.to_string()));
                    damage.extend(row.state().err().map(|error| error.to_string()));
                    let token = &row.token;
                    let identity = [token.user_name(), token.client_id(), token.api_domain()];
                    if token.user_name().is_some() {
                        let identity = identity.map(|part| part.map(str::to_owned));
                        identities.entry(identity).or_default().push(row.id.clone());
                    }
                    tokens.insert(row.id.clone(), keys_of(token));
                }
                Err(error) => damage.push(error.to_string()),
            }
        } else if ["user#", "access#", "grant#", "refresh#"].iter().any(|key| pk.starts_with(key)) {
            match ids_of(&item) {
                Ok(ids) => drop(listed.insert(pk, ids)),
                Err(error) => damage.push(error.to_string()),
            }
        }
        Ok(())
    })
    .await?;
    inspection.tokens = tokens.len() as u64;
    let is_listed =
        |id: &TokenId, key: &String| listed.get(key).is_some_and(|ids| ids.contains(id));
    let lost = tokens.iter().filter(|(id, keys)| !keys.iter().all(|key| is_listed(id, key)));
    inspection.not_findable = lost.map(|(id, _keys)| id.clone()).collect();
    let has = |id: &TokenId, key: &String| tokens.get(id).is_some_and(|keys| keys.contains(key));
    let entries = listed.iter().flat_map(|(key, ids)| ids.iter().map(move |id| (key, id)));
    inspection.dangling = entries.filter(|(key, id)| !has(id, key)).count() as u64;
    inspection.duplicates = identities.into_values().filter(|ids| ids.len() > 1).collect();
    Ok(inspection)
}
