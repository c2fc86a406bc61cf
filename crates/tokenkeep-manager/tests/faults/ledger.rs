//! What has really happened in a run, and what must not have.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokenkeep_core::{OAuthToken, TokenId};
use tokio::time::Instant;

use crate::plan::{Mishap, Outage, Place, Plan};

/// A process: its host, and how often one was started there before.
pub(crate) type Who = (usize, usize);

/// How much older than the stored access token one may be that takes its place: two requests that
/// were under way at the same moment have no order.
const SAME_MOMENT: Duration = Duration::from_secs(5);

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

#[derive(Clone, Debug)]
struct Issued {
    label: String,
    user: usize,
    family: usize,
    number: usize,
    at: Duration,
}

/// A request to the provider.
#[derive(Debug)]
struct Sending {
    refresh_token: String,
    at: Duration,
    /// Whether it counts as one that may have been granted: it was not answered with an error.
    counts: bool,
}

/// A refresh token that the provider put in the place of another one.
#[derive(Debug)]
struct Rotation {
    from: String,
    to: String,
    at: Duration,
    by: Who,
    /// When the request was made.
    lost_by: Duration,
    given_to: Vec<Who>,
    spool_begun: bool,
    spool_failed: bool,
    spooled: bool,
    stored_at: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) user: usize,
    pub(crate) gone: bool,
    /// Grows with each write.
    pub(crate) version: u64,
    family: usize,
    number: usize,
    access: Option<Issued>,
    pub(crate) token: OAuthToken,
    pub(crate) previous: Option<OAuthToken>,
}

pub(crate) struct Ledger {
    start: Instant,
    rotation: Option<Duration>,
    has_spool: bool,
    writes_late: bool,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    steps: u64,
    steps_of_storm: u64,
    /// What each step was, if that is wanted.
    kinds: Vec<(Place, String)>,
    hash: u64,
    text: Option<String>,
    faults: BTreeMap<u64, Mishap>,
    outages: Vec<Outage>,
    healed: bool,
    hit: Vec<(Duration, usize, Mishap)>,
    violations: Vec<String>,
    names: Vec<String>,
    families: usize,
    refresh_tokens: HashMap<String, Issued>,
    access_tokens: HashMap<String, Issued>,
    rows: BTreeMap<TokenId, Row>,
    stored_access: HashSet<String>,
    given_access: HashSet<(Who, String)>,
    spooled_access: HashSet<(usize, String)>,
    rotations: Vec<Rotation>,
    sent: Vec<Sending>,
    granted: Vec<u64>,
    allowed: Vec<u64>,
    revoked: HashSet<usize>,
    died: HashMap<Who, Duration>,
    answers: u64,
    refusals: BTreeMap<String, u64>,
}

impl Ledger {
    pub(crate) fn new(plan: &Plan, verbose: bool) -> Self {
        let book = Book {
            hash: 0xcbf2_9ce4_8422_2325,
            text: verbose.then(String::new),
            faults: plan.faults.clone(),
            outages: plan.outages.clone(),
            ..Book::default()
        };
        let (start, rotation) = (Instant::now(), plan.rotation);
        Self {
            start,
            rotation,
            has_spool: plan.spool,
            writes_late: plan.writes_late(),
            book: Mutex::new(book),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.book().note(now, what);
    }

    pub(crate) fn violation(&self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.book().violation(now, what);
    }

    /// Counts a step; says what befalls it.
    pub(crate) fn step(&self, who: Who, place: Place, what: &str) -> Option<Mishap> {
        let now = self.now();
        let mut book = self.book();
        book.steps += 1;
        let step = book.steps;
        if book.text.is_some() {
            book.kinds.push((place, what.to_owned()));
        }
        let in_outage = |it: &&Outage| {
            it.place == place
                && it.host.is_none_or(|host| host == who.0)
                && (it.from..it.to).contains(&now)
        };
        let outage = book.outages.iter().find(in_outage).map(|it| it.mishap);
        let mishap = book.faults.get(&step).copied().or(outage).filter(|_| !book.healed);
        match mishap {
            Some(mishap) => {
                book.hit.push((now, who.0, mishap));
                book.note(now, format_args!("{} #{step} {what}: {mishap:?}", Name(who)));
                // What fails at once costs no refresh, unless a save or the lease depends on it.
                let quick = !mishap.is_slow()
                    && !matches!(
                        what,
                        "ReplaceToken" | "RenewLease" | "ReplaceState" | "SaveToken"
                    );
                if !quick || place == Place::Provider {
                    book.allow_all(1);
                }
            }
            None => book.note(now, format_args!("{} #{step} {what}", Name(who))),
        }
        mishap
    }

    pub(crate) fn heal(&self) {
        self.note(format_args!("-- all is well again --"));
        let mut book = self.book();
        book.healed = true;
        book.steps_of_storm = book.steps;
    }

    // Who is who.

    /// A user, and the number of that one.
    pub(crate) fn add_user(&self, name: &str) -> usize {
        let mut book = self.book();
        book.names.push(name.to_owned());
        book.granted.push(0);
        book.allowed.push(0);
        book.names.len() - 1
    }

    pub(crate) fn name(&self, user: usize) -> String {
        self.book().names[user].clone()
    }

    /// A login of this user, with this refresh token.
    pub(crate) fn login(&self, user: usize, refresh_token: &str) {
        let now = self.now();
        let mut book = self.book();
        book.families += 1;
        let family = book.families;
        let number = book.refresh_tokens.len();
        let label = format!("R{number}");
        book.note(now, format_args!("user {user} has {label}, login {family}"));
        let issued = Issued { label, user, family, number, at: now };
        book.refresh_tokens.insert(refresh_token.to_owned(), issued);
    }

    /// An access token that was there before the run.
    pub(crate) fn old_access(&self, refresh_token: &str, access_token: &str) {
        let mut book = self.book();
        let mut issued = book.refresh_tokens[refresh_token].clone();
        issued.label = format!("A-old-{}", issued.user);
        book.access_tokens.insert(access_token.to_owned(), issued);
    }

    pub(crate) fn revoked(&self, refresh_token: &str) {
        let mut book = self.book();
        if let Some(family) = book.refresh_tokens.get(refresh_token).map(|it| it.family) {
            book.revoked.insert(family);
        }
    }

    pub(crate) fn died(&self, who: Who) {
        let now = self.now();
        let mut book = self.book();
        book.note(now, format_args!("{} dies", Name(who)));
        book.died.insert(who, now);
        book.allow_all(1);
    }

    /// So many refreshes more may be necessary for `user`, or for all.
    pub(crate) fn allow(&self, user: Option<usize>, more: u64) {
        let mut book = self.book();
        match user {
            Some(user) => book.allowed[user] += more,
            None => book.allow_all(more),
        }
    }

    // What the provider does.

    pub(crate) fn sent(&self, refresh_token: &str, counts: bool) {
        let now = self.now();
        let mut book = self.book();
        let Some(issued) = book.refresh_tokens.get(refresh_token).cloned() else {
            book.violation(now, format_args!("a refresh token was sent that nobody was given"));
            return;
        };
        book.note(now, format_args!("   sends {}", issued.label));
        let refresh_token = refresh_token.to_owned();
        book.sent.push(Sending { refresh_token, at: now, counts });
    }

    /// The provider has issued these for `sent`, or says again what it had issued.
    pub(crate) fn issued(&self, by: Who, sent: &str, access: &str, refresh: Option<&str>) {
        let now = self.now();
        let mut book = self.book();
        let asked_at = book.sent.iter().rev().find(|it| it.refresh_token == sent);
        let asked_at = asked_at.map_or(now, |it| it.at);
        if book.access_tokens.contains_key(access) {
            book.note(now, format_args!("   the same answer again"));
            return;
        }
        let Some(grant) = book.refresh_tokens.get(sent).cloned() else { return };
        book.granted[grant.user] += 1;
        let number = book.access_tokens.len();
        let label = format!("A{number}");
        let issued = Issued { label, number, at: now, ..grant };
        book.note(now, format_args!("   {} gets {}", grant.label, issued.label));
        book.access_tokens.insert(access.to_owned(), issued);
        if let Some(to) = refresh {
            let number = book.refresh_tokens.len();
            let label = format!("R{number}");
            book.note(now, format_args!("   {label} takes the place of {}", grant.label));
            book.refresh_tokens.insert(to.to_owned(), Issued { label, number, at: now, ..grant });
            book.rotations.push(Rotation {
                from: sent.to_owned(),
                to: to.to_owned(),
                at: now,
                by,
                lost_by: asked_at,
                given_to: Vec::new(),
                spool_begun: false,
                spool_failed: false,
                spooled: false,
                stored_at: None,
            });
        }
    }

    /// The answer has reached a living process.
    pub(crate) fn given(&self, to: Who, access: &str, refresh: Option<&str>) {
        let mut book = self.book();
        book.given_access.insert((to, access.to_owned()));
        if let Some(rotation) = book.rotation_to(refresh) {
            rotation.given_to.push(to);
        }
    }

    // Where tokens are kept.

    /// A process begins to put this into its spool.
    pub(crate) fn spools(&self, token: &OAuthToken) {
        let refresh = token.refresh_token().map(|it| it.expose_secret());
        if let Some(rotation) = self.book().rotation_to(refresh) {
            rotation.spool_begun = true;
        }
    }

    pub(crate) fn spooled(&self, host: usize, token: &OAuthToken, done: bool) {
        let refresh = token.refresh_token().map(|it| it.expose_secret().to_owned());
        let mut book = self.book();
        if let Some(access) = token.access_token().filter(|_| done) {
            book.spooled_access.insert((host, access.expose_secret().to_owned()));
        }
        if let Some(rotation) = book.rotation_to(refresh.as_deref()) {
            rotation.spooled |= done;
            rotation.spool_failed |= !done;
        }
    }

    /// `token` was stored, by a process or by somebody else.
    pub(crate) fn stored(&self, by: Option<Who>, token: &OAuthToken) {
        let now = self.now();
        let book = &mut *self.book();
        let id = token.id().unwrap().clone();
        let Some(user) = book.names.iter().position(|it| Some(&**it) == token.user_name()) else {
            book.violation(now, format_args!("row {id} has no user"));
            return;
        };
        let access = token.access_token().map(|it| it.expose_secret());
        if let Some(access) = access {
            book.stored_access.insert(access.to_owned());
        }
        let access = access.and_then(|it| book.access_tokens.get(it)).cloned();
        let refresh = token.refresh_token().map(|it| it.expose_secret().to_owned());
        if let Some(rotation) = book.rotation_to(refresh.as_deref()) {
            rotation.stored_at = rotation.stored_at.or(Some(now));
        }
        let Some(refresh) = refresh.and_then(|it| book.refresh_tokens.get(&it)).cloned() else {
            book.violation(now, format_args!("row {id} has a refresh token that nobody issued"));
            return;
        };
        let labels = (refresh.label.clone(), access.as_ref().map(|it| it.label.clone()));
        let writer = by.map_or_else(|| "another program".to_owned(), |who| Name(who).to_string());
        book.note(now, format_args!("   row {id} of user {user}: {labels:?} by {writer}"));
        let old = book.rows.get(&id).cloned();
        if by.is_some() {
            let wrong = match &old {
                None => Some("a manager made a row"),
                Some(old) if old.gone => Some("a deleted token came back"),
                Some(old) if old.user != user || refresh.user != user => {
                    Some("what was stored is another user's")
                }
                Some(old) if refresh.family < old.family => {
                    Some("an older login took the place of a newer one")
                }
                Some(old) if refresh.family == old.family && refresh.number < old.number => {
                    Some("an older refresh token took the place of a newer one")
                }
                Some(old) => match (&access, &old.access) {
                    (Some(new), Some(old)) if new.at + SAME_MOMENT < old.at => {
                        Some("an older access token took the place of a newer one")
                    }
                    (None, _) => Some("an access token that nobody issued was stored"),
                    _ => None,
                },
            };
            // A write without a comparison that the store makes after it was given up: such a store
            // breaks its contract, and nobody can mend that.
            if let Some(wrong) = wrong.filter(|_| !self.writes_late) {
                book.violation(now, format_args!("{wrong} (row {id}, user {user})"));
            }
        }
        let version = old.as_ref().map_or(0, |old| old.version) + 1;
        let previous = old.filter(|old| old.family == refresh.family && !old.gone);
        let previous = previous.map(|old| {
            let kept = old.token.access_token() == token.access_token();
            if kept { old.previous.unwrap_or(old.token) } else { old.token }
        });
        let row = Row {
            user,
            gone: false,
            version,
            family: refresh.family,
            number: refresh.number,
            access,
            token: token.clone(),
            previous,
        };
        book.rows.insert(id, row);
    }

    pub(crate) fn deleted(&self, id: &TokenId) {
        let mut book = self.book();
        if let Some(row) = book.rows.get_mut(id) {
            row.gone = true;
            row.version += 1;
        }
    }

    /// The row of this user, where there is one.
    pub(crate) fn row(&self, user: usize) -> Option<(TokenId, Row)> {
        let book = self.book();
        let mut of_user = book.rows.iter().filter(|(_, row)| row.user == user && !row.gone);
        of_user.next().map(|(id, row)| (id.clone(), row.clone()))
    }

    // What callers get.

    /// A caller who asked for `user` has got this.
    pub(crate) fn answered(&self, who: Who, user: usize, access: &str, saved: bool) {
        let now = self.now();
        let mut book = self.book();
        book.answers += 1;
        let Some(issued) = book.access_tokens.get(access).cloned() else {
            book.violation(now, format_args!("a caller got a token that nobody issued"));
            return;
        };
        let label = &issued.label;
        book.note(now, format_args!("{} answers user {user} with {label}, {saved}", Name(who)));
        if issued.user != user {
            book.violation(now, format_args!("user {user} got {label} of user {}", issued.user));
        }
        let stored = book.stored_access.contains(access);
        let has = book.given_access.contains(&(who, access.to_owned()))
            || book.spooled_access.contains(&(who.0, access.to_owned()));
        if saved && !stored {
            book.violation(now, format_args!("{label} is said to be saved and is not"));
        } else if !stored && !has {
            book.violation(now, format_args!("{label} is neither stored nor in that process"));
        }
    }

    pub(crate) fn refused(&self, who: Who, user: usize, kind: &str) {
        let now = self.now();
        let mut book = self.book();
        book.note(now, format_args!("{} answers user {user}: {kind}", Name(who)));
        *book.refusals.entry(kind.to_owned()).or_default() += 1;
    }

    // The end.

    /// Why the refresh token that is stored is dead.
    pub(crate) fn excuse(&self, stored: &OAuthToken) -> Result<Excuse, String> {
        let book = self.book();
        let refresh = stored.refresh_token().map(|it| it.expose_secret()).unwrap_or_default();
        let Some(issued) = book.refresh_tokens.get(refresh) else {
            return Err("it is not known".to_owned());
        };
        if book.revoked.contains(&issued.family) {
            return Ok(Excuse::Revoked);
        }
        let Some(rotation) = book.rotations.iter().find(|it| it.from == refresh) else {
            return book.reuse_of(issued.family, self.rotation.unwrap_or_default());
        };
        let alive = |who: &Who| !book.died.contains_key(who);
        if rotation.stored_at.is_some() {
            return Err("what took its place was stored before".to_owned());
        }
        if rotation.spooled {
            let grace = self.rotation.unwrap_or_default();
            let again = |sent: &Sending| {
                sent.refresh_token == refresh && sent.at + Plan::LATE >= rotation.at + grace
            };
            return if book.sent.iter().any(again) {
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
        let sent_again = book.sent.iter().any(|it| {
            it.refresh_token == refresh && it.at > rotation.at && it.at < rotation.at + grace
        });
        Ok(if grace.is_zero() {
            Excuse::AnswerLost
        } else if sent_again {
            Excuse::AnswerLostAgain
        } else if !alive(&rotation.by) {
            Excuse::AnswerLostWithProcess
        } else if book.hit.iter().any(|(at, host, mishap)| {
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

    /// How often the provider has issued for this user, and how often it may have been necessary.
    pub(crate) fn issued_to(&self, user: usize) -> (u64, u64) {
        let book = self.book();
        (book.granted[user], book.allowed[user])
    }

    /// The largest number of requests within any such time for one login of this user, and what
    /// rotation made of it. Who asks again for a lost answer within the grace gets no new token.
    pub(crate) fn busiest(&self, user: usize, window: Duration) -> usize {
        let book = self.book();
        let mut of_login: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        let grace = self.rotation.unwrap_or_default();
        let mut first: BTreeMap<&str, Duration> = BTreeMap::new();
        for sent in book.sent.iter().filter(|sent| sent.counts) {
            let since = first.entry(&sent.refresh_token).or_insert(sent.at);
            if *since < sent.at && sent.at < *since + grace {
                continue;
            }
            *since = sent.at;
            let grant = &book.refresh_tokens[&sent.refresh_token];
            if grant.user == user {
                of_login.entry(grant.family).or_default().push(sent.at);
            }
        }
        let busiest = |times: &Vec<Duration>| {
            let in_window = |from: &Duration| {
                times.iter().filter(|at| (*from..*from + window).contains(at)).count()
            };
            times.iter().map(in_window).max().unwrap_or(0)
        };
        of_login.values().map(busiest).max().unwrap_or(0)
    }

    pub(crate) fn is_stored(&self, access: &str) -> bool {
        self.book().stored_access.contains(access)
    }

    pub(crate) fn has_died(&self) -> bool {
        !self.book().died.is_empty()
    }

    pub(crate) fn ids_of(&self, user: usize) -> Vec<TokenId> {
        let book = self.book();
        let of_user = book.rows.iter().filter(|(_, row)| row.user == user && !row.gone);
        of_user.map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn close(&self) -> Closed {
        let mut book = self.book();
        Closed {
            violations: std::mem::take(&mut book.violations),
            hash: book.hash,
            text: book.text.take().unwrap_or_default(),
            steps: book.steps_of_storm,
            kinds: std::mem::take(&mut book.kinds),
            mishaps: book.hit.len(),
            answers: book.answers,
            refusals: std::mem::take(&mut book.refusals),
            issued: book.granted.iter().sum(),
        }
    }
}

/// What a ledger says at the end.
pub(crate) struct Closed {
    pub(crate) violations: Vec<String>,
    pub(crate) hash: u64,
    pub(crate) text: String,
    /// Until all was well again.
    pub(crate) steps: u64,
    /// What each one was, of a run that was to be told about.
    pub(crate) kinds: Vec<(Place, String)>,
    pub(crate) mishaps: usize,
    pub(crate) answers: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) issued: u64,
}

impl Book {
    fn note(&mut self, now: Duration, what: fmt::Arguments<'_>) {
        // Writing to either cannot fail.
        let mut hashed = Hashed(self.hash);
        fmt::write(&mut hashed, format_args!("{} {what}", now.as_millis())).unwrap();
        self.hash = hashed.0;
        if let Some(text) = &mut self.text {
            fmt::write(text, format_args!("{:>12.3} {what}\n", now.as_secs_f64())).unwrap();
        }
    }

    fn violation(&mut self, now: Duration, what: fmt::Arguments<'_>) {
        self.note(now, format_args!("VIOLATION {what}"));
        self.violations.push(format!("at {:.3} s: {what}", now.as_secs_f64()));
    }

    fn allow_all(&mut self, more: u64) {
        for allowed in &mut self.allowed {
            *allowed += more;
        }
    }

    /// How a family whose newest refresh token is stored came to its end: an older one was sent
    /// again when its grace was over.
    fn reuse_of(&self, family: usize, grace: Duration) -> Result<Excuse, String> {
        let mut excuse = Err("nobody has replaced or revoked it".to_owned());
        for sent in
            self.sent.iter().filter(|it| self.refresh_tokens[&it.refresh_token].family == family)
        {
            let replaced = self.rotations.iter().find(|it| it.from == sent.refresh_token);
            // It may have been on its way for a while.
            let Some(rotation) = replaced.filter(|it| it.at + grace <= sent.at + Plan::LATE) else {
                continue;
            };
            if sent.at <= rotation.at {
                excuse = Ok(Excuse::ReuseByStalled);
            } else if rotation.stored_at.is_none_or(|at| sent.at <= at)
                && !self.hit.iter().any(|(_, host, it)| *host == rotation.by.0 && it.is_slow())
            {
                return Ok(Excuse::ReuseWhileUnsaved);
            } else if self.hit.iter().any(|(.., mishap)| mishap.is_slow()) {
                excuse = Ok(Excuse::ReuseByStalled);
            }
        }
        excuse
    }

    fn rotation_to(&mut self, refresh: Option<&str>) -> Option<&mut Rotation> {
        self.rotations.iter_mut().find(|it| Some(&*it.to) == refresh)
    }
}

/// FNV-1a of what is written.
struct Hashed(u64);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

pub(crate) struct Name(pub(crate) Who);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host{}.{}", self.0.0, self.0.1)
    }
}
