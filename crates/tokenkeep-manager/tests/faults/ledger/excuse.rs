//! Why a login was lost.

use std::time::Duration;

use tokenkeep_core::OAuthToken;

use super::{Book, Ledger, Who, issued::Sending};
use crate::plan::Plan;

/// Why a login was lost although nobody made a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// The user revoked it.
    Revoked,
    /// The provider replaced the refresh token, and its answer reached nobody. It does not give
    /// the answer again.
    AnswerLost,
    /// The same; it gave the answer again for a while, and that got lost too.
    AnswerLostAgain,
    /// The same; it would have given it again for a while, but whoever asked had died.
    AnswerLostWithProcess,
    /// The same; whoever had asked was alive, and something else went wrong before the time was
    /// over, or the answer was waited for until then.
    AnswerLostUnasked,
    /// The process had the answer, and died before it could be put anywhere.
    CrashBeforeSpool,
    /// The process kept the answer in its memory, because the spool had failed too, and died.
    CrashSpoolFailed,
    /// The process kept the answer in its memory, because there is no spool, and died.
    CrashWithoutSpool,
    /// It was in the spool of a host that was down when another host sent the old one again, which
    /// the provider took for a thief's.
    ReuseWhileSpooled,
    /// A process stood still for long, or its request was long on its way, so that another one took
    /// over; whichever sent the old one second was taken for a thief.
    ReuseByStalled,
    /// A process had the new one and could not store it at once, when another one sent the old one
    /// again, which the provider took for a thief's.
    ReuseWhileUnsaved,
}

impl Ledger {
    /// Why the refresh token that is stored is dead.
    pub(crate) fn excuse(&self, stored: &OAuthToken) -> Result<Excuse, String> {
        let book = self.book();
        let Book { issues, steps, .. } = &*book;
        let refresh = stored.refresh_token().map(|it| it.expose_secret()).unwrap_or_default();
        let Some(issued) = issues.refresh_tokens.get(refresh) else {
            return Err("it is not known".to_owned());
        };
        if issues.revoked.contains(&issued.family) {
            return Ok(Excuse::Revoked);
        }
        let Some(rotation) = issues.rotations.iter().find(|it| it.from == refresh) else {
            return book.reuse_of(issued.family, self.rotation.unwrap_or_default());
        };
        let alive = |who: &Who| !steps.died.contains(who);
        if rotation.stored_at.is_some() {
            return Err("what took its place was stored before".to_owned());
        }
        if rotation.spooled {
            let grace = self.rotation.unwrap_or_default();
            let again = |sent: &Sending| {
                sent.refresh_token == refresh && sent.at + Plan::LATE >= rotation.at + grace
            };
            return if issues.sent.iter().any(again) {
                Ok(Excuse::ReuseWhileSpooled)
            } else {
                Err("what took its place is in a spool".to_owned())
            };
        }
        if rotation.given_to.iter().any(alive) {
            return Err("a living process has what took its place".to_owned());
        }
        if !rotation.given_to.is_empty() && self.has_spool && !rotation.spool_begun {
            return Err("who had what took its place did not put it into the spool".to_owned());
        }
        if !rotation.given_to.is_empty() {
            return Ok(match (self.has_spool, rotation.spool_failed) {
                (false, _) => Excuse::CrashWithoutSpool,
                (true, true) => Excuse::CrashSpoolFailed,
                (true, false) => Excuse::CrashBeforeSpool,
            });
        }
        let grace = self.rotation.unwrap_or_default();
        let sent_again = issues.sent.iter().any(|it| {
            it.refresh_token == refresh && it.at > rotation.at && it.at < rotation.at + grace
        });
        Ok(if grace.is_zero() {
            Excuse::AnswerLost
        } else if sent_again {
            Excuse::AnswerLostAgain
        } else if !alive(&rotation.by) {
            Excuse::AnswerLostWithProcess
        } else if steps.hit.iter().any(|(at, host, mishap)| {
            // Another mishap came in between, or this one took its time.
            *host == rotation.by.0
                && if *at == rotation.lost_by {
                    mishap.is_slow()
                } else {
                    *at + Plan::REQUEST_TIMEOUT >= rotation.at && *at <= rotation.at + grace
                }
        }) {
            Excuse::AnswerLostUnasked
        } else {
            return Err("a living process could have asked again for a lost answer".to_owned());
        })
    }
}

impl Book {
    /// How a family whose newest refresh token is stored came to its end: an older one was sent
    /// again when its grace was over.
    fn reuse_of(&self, family: usize, grace: Duration) -> Result<Excuse, String> {
        let Self { issues, steps, .. } = self;
        let is_of_family =
            |sent: &&Sending| issues.refresh_tokens[&sent.refresh_token].family == family;
        let mut excuse = Err("nobody has replaced or revoked it".to_owned());
        for sent in issues.sent.iter().filter(is_of_family) {
            let replaced = issues.rotations.iter().find(|it| it.from == sent.refresh_token);
            // It may have been on its way for a while.
            let Some(rotation) = replaced.filter(|it| it.at + grace <= sent.at + Plan::LATE) else {
                continue;
            };
            if sent.at <= rotation.at {
                excuse = Ok(Excuse::ReuseByStalled);
            } else if rotation.stored_at.is_none_or(|at| sent.at <= at)
                && !steps.hit.iter().any(|(_, host, it)| *host == rotation.by.0 && it.is_slow())
            {
                return Ok(Excuse::ReuseWhileUnsaved);
            } else if steps.hit.iter().any(|(.., mishap)| mishap.is_slow()) {
                excuse = Ok(Excuse::ReuseByStalled);
            }
        }
        excuse
    }
}
