//! Scopes: what a token may do.

/// What a self client of the emulator may do when nobody says otherwise: everything.
pub(crate) const EVERYTHING: &str = "ZohoCRM.modules.ALL,ZohoCRM.users.ALL,ZohoCRM.org.ALL,\
                                     ZohoCRM.settings.ALL,ZohoCRM.coql.READ,ZohoSearch.securesearch.READ";

/// A list of scopes such as `ZohoCRM.modules.leads.READ`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scopes(Vec<String>);

impl Scopes {
    /// Reads a list separated by commas or blanks.
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            text.split([',', ' '])
                .map(str::trim)
                .filter(|scope| !scope.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list as Zoho writes it, separated by commas.
    pub(crate) fn text(&self) -> String {
        self.0.join(",")
    }

    /// Whether these scopes allow `operation` on `group` and, if there is one, its `part`:
    /// `("modules", Some("leads"), Operation::Read)`.
    pub(crate) fn allow(&self, group: &str, part: Option<&str>, operation: Operation) -> bool {
        self.0.iter().any(|scope| {
            let words: Vec<&str> = scope.split('.').collect();
            match words.as_slice() {
                ["ZohoCRM", given, granted] => {
                    given.eq_ignore_ascii_case(group) && operation.is_in(granted)
                }
                ["ZohoCRM", given, given_part, granted] => {
                    given.eq_ignore_ascii_case(group)
                        && part.is_some_and(|part| given_part.eq_ignore_ascii_case(part))
                        && operation.is_in(granted)
                }
                _ => false,
            }
        })
    }
}

/// What a request does to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Read,
    Update,
    Delete,
}

impl Operation {
    fn is_in(self, granted: &str) -> bool {
        let own = match self {
            Self::Create => "CREATE",
            Self::Read => "READ",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        };
        granted.eq_ignore_ascii_case("ALL")
            || granted.eq_ignore_ascii_case(own)
            || (granted.eq_ignore_ascii_case("WRITE") && self != Self::Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_scope_covers_a_narrow_request_and_not_the_other_way_round() {
        let wide = Scopes::parse("ZohoCRM.modules.ALL");
        assert!(wide.allow("modules", Some("leads"), Operation::Delete));
        assert!(!wide.allow("users", None, Operation::Read));

        let narrow = Scopes::parse("ZohoCRM.modules.leads.READ, ZohoCRM.modules.deals.WRITE");
        assert!(narrow.allow("modules", Some("Leads"), Operation::Read));
        assert!(!narrow.allow("modules", Some("leads"), Operation::Create));
        assert!(!narrow.allow("modules", Some("contacts"), Operation::Read));
        assert!(!narrow.allow("modules", None, Operation::Read));
        assert!(narrow.allow("modules", Some("deals"), Operation::Create));
        assert!(!narrow.allow("modules", Some("deals"), Operation::Read));
    }
}
