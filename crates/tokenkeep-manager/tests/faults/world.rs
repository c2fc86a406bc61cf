//! One run: hosts and their processes, the store, the provider, the callers, and all others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokenkeep_core::{
    ClientCredentials, ClientSecret, Field, ListStore, OAuthToken, RefreshToken, SharedStore as _,
    Timestamp, TokenStore,
};
use tokenkeep_emulator::{Config, Emulator, InProcess};
use tokenkeep_manager::{LiveToken, ManagerError, ManagerErrorKind, TokenHandle, TokenManager};
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokenkeep_testkit::ChaosStore;
use tokio::time::{sleep, sleep_until, timeout};

use crate::{
    ledger::{Closed, Excuse, Ledger},
    plan::{Ask, Happening, Other, Plan, USERS},
    process::{Agent, ChaosSpool, HostClock, Process, Shelf},
    provider::Way,
    verdict,
};

pub(crate) const CLIENT_ID: &str = "test-client-id";
pub(crate) const CLIENT_SECRET: &str = "test-client-secret";

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) closed: Closed,
    pub(crate) excuses: Vec<Excuse>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) emulator: InProcess,
    /// The store itself: what others write to, and what is looked at in the end.
    pub(crate) store: ListStore,
    store_clock: Arc<HostClock>,
    hosts: Vec<Host>,
}

struct Host {
    clock: Arc<HostClock>,
    shelf: Shelf,
    process: Mutex<Option<Arc<Process>>>,
}

/// Does what the plan says, and judges it.
pub(crate) fn run(plan: &Plan, verbose: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(plan, verbose).await;
        world.storm().await;
        let excuses = verdict::judge(&world).await;
        Outcome { closed: world.ledger.close(), excuses }
    })
}

impl World {
    async fn new(plan: &Plan, verbose: bool) -> Arc<Self> {
        let ledger = Arc::new(Ledger::new(plan, verbose));
        ledger.note(format_args!("{plan:?}"));
        let clock = || Arc::new(HostClock::new(ledger.start()));
        let builder = Emulator::builder().seed(plan.seed).clock(clock());
        let emulator = builder.in_process();
        emulator.configure(
            Config::new()
                .access_token_lifetime_s(plan.lifetime.as_secs())
                .rotate_refresh_tokens(plan.rotation.is_some())
                .grace_ms(u64::try_from(plan.rotation.unwrap_or_default().as_millis()).unwrap())
                .revoke_family_on_reuse(plan.reuse_detection)
                .enforce_limits(plan.budget),
        );
        let store_clock = clock();
        let host = || Host {
            clock: clock(),
            shelf: Arc::new(Mutex::new(BTreeMap::new())),
            process: Mutex::new(None),
        };
        let world = Arc::new(Self {
            plan: plan.clone(),
            store: ListStore::with_clock(Arc::<HostClock>::clone(&store_clock)),
            store_clock,
            hosts: (0..plan.hosts).map(|_| host()).collect(),
            emulator,
            ledger,
        });
        for (user, name) in ["alice@example.com", "bob@example.com"].into_iter().enumerate() {
            assert_eq!(world.ledger.add_user(name), user);
            let refresh_token = world.log_in(user);
            let old = format!("test-access-old-{user}");
            world.ledger.old_access(&refresh_token, &old);
            let token = row(name, &refresh_token).access_token(old);
            let expired = Timestamp::from_millis(1_763_000_000_000);
            let token = token.expiry_time(expired).build().unwrap();
            let saved = world.store.save_token(&token).await.unwrap();
            world.ledger.stored(None, &saved);
        }
        for host in 0..plan.hosts {
            world.start(host);
        }
        world
    }

    /// Does all that the plan says, until all is well again.
    async fn storm(self: &Arc<Self>) {
        let start = self.ledger.start();
        for (at, happening) in &self.plan.happenings {
            sleep_until(start + *at).await;
            match *happening {
                Happening::Ask { host, user, ask } => {
                    drop(tokio::spawn(Arc::clone(self).ask(host, user, ask)));
                }
                Happening::Other(other) => self.other(other).await,
            }
        }
        sleep_until(start + self.plan.healed_at).await;
        self.ledger.heal();
        for clock in self.hosts.iter().map(|host| &host.clock).chain([&self.store_clock]) {
            clock.set_by(0);
        }
        // What is late arrives, pauses and windows end, what can be saved in the background is.
        sleep(Duration::from_secs(1800)).await;
    }

    /// Starts a process on a host that has none.
    pub(crate) fn start(self: &Arc<Self>, host: usize) {
        let place = &self.hosts[host];
        let mut process = place.process.lock().unwrap();
        let incarnation = match &*process {
            Some(process) if process.agent.life.is_alive() => return,
            Some(process) => process.agent.who.1 + 1,
            None => 0,
        };
        let who = (host, incarnation);
        let agent = Agent::new(who, Arc::clone(&self.ledger), Arc::downgrade(self));
        let store = ChaosStore::new(Arc::new(self.store.clone()), Arc::new(agent.clone()));
        let store = if self.plan.shared { store } else { store.without_shared() };
        let mut builder = TokenManager::builder(store)
            .clock(Arc::<HostClock>::clone(&place.clock))
            .oauth_client(Way::client(&self.emulator, &agent, self.plan.latency))
            .accounts_server(AccountsServer::parse(self.emulator.url()).unwrap())
            .api_domain(ApiDomain::parse(self.emulator.url()).unwrap())
            .holder_name(format!("host{host}.{incarnation}"))
            .provider_rules(self.plan.rules())
            .margin(Plan::MARGIN)
            .lease(Plan::LEASE)
            .deadline(self.plan.deadline)
            .store_timeout(self.plan.store_timeout);
        if self.plan.spool {
            let shelf = Arc::clone(&place.shelf);
            builder = builder.spool(ChaosSpool { shelf, agent: agent.clone() });
        }
        let manager = builder.build().unwrap();
        self.ledger.note(format_args!("host{host}.{incarnation} starts"));
        if incarnation > 0 && self.plan.recover_at_start {
            self.recover(&manager);
        }
        let (handles, last) = (Mutex::new(HashMap::new()), Mutex::new(HashMap::new()));
        *process = Some(Arc::new(Process { agent, manager, handles, last }));
    }

    /// As a program does that does not wait for it.
    fn recover(&self, manager: &TokenManager) {
        let (manager, ledger) = (manager.clone(), Arc::clone(&self.ledger));
        drop(tokio::spawn(async move {
            let recovered = manager.recover().await;
            ledger.note(format_args!("recovered: {:?}", recovered.map_err(|it| it.kind())));
        }));
    }

    pub(crate) fn restart_later(self: &Arc<Self>, host: usize) {
        let world = Arc::downgrade(self);
        let pause = self.plan.restart_after;
        drop(tokio::spawn(async move {
            sleep(pause).await;
            if let Some(world) = world.upgrade() {
                world.start(host);
            }
        }));
    }

    pub(crate) fn process(&self, host: usize) -> Arc<Process> {
        Arc::clone(self.hosts[host].process.lock().unwrap().as_ref().unwrap())
    }

    pub(crate) fn shelf(&self, host: usize) -> &Shelf {
        &self.hosts[host].shelf
    }

    // Callers.

    /// For how long a caller may be kept: the deadline, and what is asked of the store before the
    /// work is waited for.
    fn patience(&self) -> Duration {
        // A process that stands still cannot answer.
        let freezes = self.plan.faults.values().filter(|it| format!("{it:?}").contains("Freeze"));
        let frozen = Plan::LONG * u32::try_from(freezes.count()).unwrap();
        self.plan.deadline + self.plan.store_timeout * 5 + frozen + Duration::from_secs(1)
    }

    async fn ask(self: Arc<Self>, host: usize, user: usize, ask: Ask) {
        let process = self.process(host);
        let who = process.agent.who;
        if !process.agent.life.is_alive() {
            return;
        }
        let before = self.ledger.row(user).map(|(_, row)| row.version);
        match ask {
            Ask::Rejected => self.ledger.allow(Some(user), 1),
            // One may find the token of another flight, and ask once more.
            Ask::Refresh => self.ledger.allow(Some(user), 1),
            Ask::Token | Ask::Leave(_) => {}
        }
        let call = self.call(&process, user, ask);
        if let Ask::Leave(after) = ask {
            // Nobody is told.
            drop(timeout(after, call).await);
            return;
        }
        let patience = self.patience();
        let answer = tokio::select! {
            biased;
            () = process.agent.life.end() => return,
            answer = timeout(patience, call) => answer,
        };
        match answer {
            Err(_late) => {
                let what = format_args!("{ask:?} of user {user} took longer than {patience:?}");
                self.ledger.violation(what);
            }
            Ok(Ok(live)) => {
                let access = live.access_token().expose_secret();
                self.ledger.answered(who, user, access, live.is_saved());
            }
            Ok(Err(error)) => {
                self.ledger.refused(who, user, &format!("{:?}", error.kind()));
                self.judge_error(user, before, &error);
            }
        }
    }

    pub(crate) async fn call(
        &self,
        process: &Process,
        user: usize,
        ask: Ask,
    ) -> Result<Arc<LiveToken>, ManagerError> {
        let handle = self.handle(process, user).await?;
        let live = match ask {
            Ask::Token | Ask::Leave(_) => handle.access_token().await,
            Ask::Refresh => handle.refresh().await,
            Ask::Rejected => {
                let last = process.last.lock().unwrap().get(&user).cloned();
                match last {
                    Some(last) => handle.rejected(&last).await,
                    None => handle.access_token().await,
                }
            }
        }?;
        process.last.lock().unwrap().insert(user, live.access_token().clone());
        Ok(live)
    }

    async fn handle(&self, process: &Process, user: usize) -> Result<TokenHandle, ManagerError> {
        if let Some(handle) = process.handles.lock().unwrap().get(&user) {
            return Ok(handle.clone());
        }
        let handle = process.manager.user(&self.ledger.name(user)).await?;
        if self.plan.keep_handles {
            process.handles.lock().unwrap().insert(user, handle.clone());
        }
        Ok(handle)
    }

    /// An error has to be true, and say what to do.
    fn judge_error(&self, user: usize, before: Option<u64>, error: &ManagerError) {
        let kind = error.kind();
        let complain = |why: &str| {
            let hint = error.hint();
            self.ledger.violation(format_args!("user {user}: {why}: {kind:?} {error} ({hint:?})"));
        };
        if error.hint().is_none() && !error.is_transient() {
            complain("an error that says nothing of what to do");
        }
        let row = self.ledger.row(user);
        let unchanged = row.as_ref().map(|(_, row)| row.version) == before;
        let alive = row.as_ref().is_some_and(|(_, row)| self.is_alive(user, &row.token));
        match kind {
            ManagerErrorKind::NeedsLogin if alive && unchanged => {
                complain("a login is asked for, and the grant is alive");
            }
            ManagerErrorKind::NoToken
                if row.is_some()
                    && unchanged
                    && !self.plan.keep_handles
                    && !self.plan.removes() =>
            {
                complain("the token is there");
            }
            ManagerErrorKind::Throttled | ManagerErrorKind::Rejected
                if error.retry_at().is_none() =>
            {
                complain("an error that does not say until when");
            }
            ManagerErrorKind::Invalid
            | ManagerErrorKind::Scope
            | ManagerErrorKind::Stopped
            | ManagerErrorKind::WrongClient => complain("nothing in this run explains it"),
            _ => {}
        }
    }

    /// Whether the provider takes the refresh token of this row.
    pub(crate) fn is_alive(&self, user: usize, stored: &OAuthToken) -> bool {
        let live = self.emulator.live_refresh_tokens(&self.ledger.name(user));
        stored.refresh_token().is_some_and(|it| live.iter().any(|live| live == it.expose_secret()))
    }

    // Others.

    /// The user logs in: the refresh token.
    fn log_in(&self, user: usize) -> String {
        let name = self.ledger.name(user);
        let refresh_token = self.emulator.add_user(name, CLIENT_ID, CLIENT_SECRET).refresh_token;
        self.ledger.login(user, &refresh_token);
        refresh_token
    }

    async fn other(self: &Arc<Self>, other: Other) {
        self.ledger.note(format_args!("-- {other:?} --"));
        match other {
            Other::LogIn(user) => {
                let token = row(&self.ledger.name(user), &self.log_in(user)).build().unwrap();
                let token = token.clear(Field::AccessToken).clear(Field::ExpiryTime);
                let saved = self.store.save_token(&token).await.unwrap();
                self.ledger.stored(None, &saved);
                self.ledger.allow(Some(user), 2);
            }
            Other::SetClock(host, by) => {
                match host {
                    Some(host) => self.hosts[host].clock.set_by(by),
                    None => self.store_clock.set_by(by),
                }
                // Until it is right again, each look may find that a token has ended.
                self.ledger.allow(None, 20 * u64::try_from(self.plan.hosts).unwrap());
            }
            Other::Kill(host) => self.process(host).agent.die(),
            Other::Recover(host) => self.recover(&self.process(host).manager),
            Other::Expire => self.emulator.expire_access_tokens(),
            Other::Touch(user)
            | Other::PutBack(user)
            | Other::Delete(user)
            | Other::GiveAway(user)
            | Other::Revoke(user) => {
                if let Some((id, row)) = self.ledger.row(user) {
                    let stored = self.store.find_token_by_id(&id).await.unwrap().unwrap();
                    self.other_to_row(other, user, &stored, row.previous.as_ref()).await;
                }
            }
        }
    }

    async fn other_to_row(
        &self,
        other: Other,
        user: usize,
        stored: &OAuthToken,
        previous: Option<&OAuthToken>,
    ) {
        let id = stored.id().unwrap();
        let write = match other {
            Other::Touch(_) => {
                let url = format!("https://test.example.com/{}", self.ledger.now().as_millis());
                Some(stored.clone().with_redirect_url(url).unwrap())
            }
            Other::PutBack(_) => {
                self.ledger.allow(Some(user), 2);
                let old = previous.and_then(|it| it.access_token().zip(it.expiry_time()));
                old.map(|(access, expiry)| stored.clone().with_access_token(access.clone(), expiry))
            }
            Other::GiveAway(_) => {
                let name = format!("carol-{}@example.com", self.ledger.now().as_millis());
                let carol = self.ledger.add_user(&name);
                let token = row(&name, &self.log_in(carol)).build().unwrap();
                Some(token.clear(Field::AccessToken).clear(Field::ExpiryTime))
            }
            Other::Delete(_) => {
                self.store.delete_token(id).await.unwrap();
                self.ledger.deleted(id);
                None
            }
            Other::Revoke(_) => {
                let refresh_token = stored.refresh_token().unwrap().expose_secret();
                let body = format!("token={refresh_token}");
                let headers = [("content-type", "application/x-www-form-urlencoded")];
                let path = "/oauth/v2/token/revoke";
                self.emulator.call("POST", path, &headers, body.as_bytes()).await.unwrap();
                if !self.is_alive(user, stored) {
                    self.ledger.revoked(refresh_token);
                }
                None
            }
            Other::LogIn(_)
            | Other::Expire
            | Other::SetClock(..)
            | Other::Kill(_)
            | Other::Recover(_) => None,
        };
        if let Some(token) = write {
            let replaced = self.store.replace_token(stored, &token, None).await.unwrap();
            let tokenkeep_core::Replaced::Saved(saved) = replaced else { panic!("{replaced:?}") };
            self.ledger.stored(None, &saved);
        }
    }

    pub(crate) fn users(&self) -> std::ops::Range<usize> {
        0..USERS
    }
}

/// A row of this user, with this refresh token.
fn row(name: &str, refresh_token: &str) -> tokenkeep_core::OAuthTokenBuilder {
    let client = ClientCredentials::new(CLIENT_ID, ClientSecret::new(CLIENT_SECRET).unwrap());
    let client = client.unwrap();
    let refresh_token = RefreshToken::new(refresh_token).unwrap();
    OAuthToken::builder()
        .user_name(name)
        .client(client.id(), client.secret().expose_secret())
        .refresh_token(refresh_token.expose_secret())
}
