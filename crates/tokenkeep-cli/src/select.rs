//! Which token or tokens a verb is about.

use clap::{ArgGroup, Args};
use tokenkeep::{OAuthToken, TokenId, TokenQuery, TokenStore};

use crate::{error::Failure, output::Printer};

/// One token, by user or by id, as flags.
#[derive(Args)]
#[command(next_help_heading = "Which token")]
#[group(skip)]
#[command(group = ArgGroup::new("which").required(true).args(["user", "id"]))]
pub(crate) struct OneToken {
    /// The user's name, exactly as stored
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only the token of this client, where the user has several
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    client_id: Option<String>,
    /// The token's id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// One token or all, by id, by user, or with `--all`.
#[derive(Args)]
#[command(next_help_heading = "Which tokens")]
#[group(skip)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "user", "all"]))]
pub(crate) struct SomeTokens {
    /// The token's id
    #[arg(help_heading = "Arguments")]
    id: Option<String>,
    /// The user's name, exactly as stored
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only the token of this client, where the user has several
    #[arg(long, value_name = "ID", requires = "user")]
    client_id: Option<String>,
    /// All tokens of the store; asks first
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long, short, requires = "all")]
    yes: bool,
}

impl OneToken {
    /// The token.
    pub(crate) async fn find(&self, store: &dyn TokenStore) -> Result<OAuthToken, Failure> {
        match (&self.id, &self.user) {
            (Some(id), _) => by_id(store, id).await,
            (None, Some(user)) => by_user(store, user, self.client_id.as_deref()).await,
            (None, None) => Err(Failure::usage("give `--user NAME` or `--id ID`")),
        }
    }
}

impl SomeTokens {
    pub(crate) fn all(&self) -> bool {
        self.all
    }

    /// The tokens, in the order of their ids. Where all are meant, asks whether to `verb` them.
    pub(crate) async fn find(
        &self,
        store: &dyn TokenStore,
        verb: &str,
        printer: Printer,
    ) -> Result<Vec<OAuthToken>, Failure> {
        if self.all {
            let tokens = store.get_tokens().await?;
            if !self.yes && !printer.confirm(&format!("{verb} all {} tokens?", tokens.len()))? {
                return Err(Failure::failed("nothing was changed"));
            }
            return Ok(tokens);
        }
        let token = match (&self.id, &self.user) {
            (Some(id), _) => by_id(store, id).await?,
            (None, Some(user)) => by_user(store, user, self.client_id.as_deref()).await?,
            (None, None) => return Err(Failure::usage("give an ID, `--user NAME` or `--all`")),
        };
        Ok(vec![token])
    }
}

/// The token with this id.
pub(crate) async fn by_id(store: &dyn TokenStore, id: &str) -> Result<OAuthToken, Failure> {
    let id = TokenId::new(id)?;
    store.find_token_by_id(&id).await?.ok_or_else(|| {
        // What is no number may be a token that was pasted in the wrong place.
        Failure::no_token(match id.number() {
            Some(number) => format!("no token has the id {number}"),
            None => "no token has this id".to_owned(),
        })
    })
}

/// The token of this user.
pub(crate) async fn by_user(
    store: &dyn TokenStore,
    user: &str,
    client_id: Option<&str>,
) -> Result<OAuthToken, Failure> {
    let mut query = TokenQuery::user(user)?;
    if let Some(client_id) = client_id {
        query = query.with_client_id(client_id)?;
    }
    store
        .find_token(&query)
        .await?
        .ok_or_else(|| Failure::no_token("no token is this user's").hint_of_name(user))
}

impl Failure {
    /// Names are compared byte for byte: says so where that may be the reason.
    fn hint_of_name(self, user: &str) -> Self {
        if user.trim() == user {
            self
        } else {
            self.hint("the name has blanks around it; `tokenkeep list` shows what is stored")
        }
    }
}
