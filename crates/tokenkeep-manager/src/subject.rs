//! Whose token a handle is for.

use tokenkeep_core::{Environment, OAuthToken};
use tokenkeep_oauth::DataCenter;

/// What makes a token another one, as it was when the handle was made: nobody is handed what has
/// taken the place of their token under the same id.
///
/// What was not known then may have been learnt since. The organisation and the scopes are those
/// of the grant, and a record has one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    user_name: Option<String>,
    client_id: Option<String>,
    place: Option<(&'static str, Environment)>,
}

impl Subject {
    pub(crate) fn of(token: &OAuthToken) -> Self {
        Self {
            user_name: token.user_name().map(str::to_owned),
            client_id: token.client_id().map(str::to_owned),
            place: place(token),
        }
    }

    /// Whether `token` is this subject's. If it is, what was not known before is known then.
    pub(crate) fn claim(&mut self, token: &OAuthToken) -> bool {
        let owned = self.owns(token);
        if owned {
            *self = Self { place: place(token).or(self.place), ..Self::of(token) };
        }
        owned
    }

    /// Whether `token` is this subject's.
    pub(crate) fn owns(&self, token: &OAuthToken) -> bool {
        let same = |ours: Option<&str>, theirs: Option<&str>| ours.is_none() || ours == theirs;
        // A record need not say where it works.
        let same_place = match (self.place, place(token)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, _) | (_, None) => true,
        };
        same(self.user_name.as_deref(), token.user_name())
            && same(self.client_id.as_deref(), token.client_id())
            && same_place
    }
}

/// The data centre and environment that the token's API domain belongs to.
fn place(token: &OAuthToken) -> Option<(&'static str, Environment)> {
    let (data_center, environment) = DataCenter::of_api_domain(token.api_domain()?)?;
    Some((data_center.code(), environment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: Option<&str>, client: &str, domain: Option<&str>) -> OAuthToken {
        let mut builder = OAuthToken::builder().client(client, "test-secret");
        if let Some(user) = user {
            builder = builder.user_name(user);
        }
        if let Some(domain) = domain {
            builder = builder.api_domain(domain);
        }
        builder.access_token("test-access").build().unwrap()
    }

    #[test]
    fn a_token_of_another_user_client_data_centre_or_environment_is_not_the_subjects() {
        let eu = Some("https://www.zohoapis.eu");
        let ours = Subject::of(&token(Some("alice"), "1", eu));
        assert!(ours.owns(&token(Some("alice"), "1", eu)));
        assert!(ours.owns(&token(Some("alice"), "1", None)));
        for other in [
            token(Some("bob"), "1", eu),
            token(None, "1", eu),
            token(Some("alice"), "2", eu),
            token(Some("alice"), "1", Some("https://www.zohoapis.in")),
            token(Some("alice"), "1", Some("https://sandbox.zohoapis.eu")),
        ] {
            assert!(!ours.owns(&other), "{other:?}");
        }
        // The name was learnt since, and then it counts.
        let mut nameless = Subject::of(&token(None, "1", eu));
        assert!(nameless.claim(&token(Some("alice"), "1", None)));
        assert_eq!(nameless, ours);
        assert!(!nameless.claim(&token(Some("bob"), "1", eu)));
        assert_eq!(nameless, ours);
    }
}
