//! What a process does in each of its steps.

use crate::{
    config::{Config, Variant},
    process::{Outcome, Process, Step, Then},
    protocol::State,
    provider::Answer,
    store::{InFlight, Notes, Replaced, Saver, Store},
    token::{Token, Unsaved},
};

/// One process at work.
pub(crate) struct Turn<'a> {
    pub(crate) config: &'a Config,
    pub(crate) state: &'a mut State,
    pub(crate) index: usize,
}

impl Turn<'_> {
    fn me(&mut self) -> &mut Process {
        &mut self.state.processes[self.index]
    }

    pub(crate) fn go(&mut self, step: Step) {
        match step {
            Step::TakeLease => self.take_lease(),
            Step::Renew => self.renew(),
            Step::ReadAgain => self.read_again(),
            Step::Record => self.record(),
            Step::Ask => self.ask(),
            Step::Receive => self.receive(),
            Step::Spool => {
                let me = self.me();
                me.spool = me.unsaved;
                me.step = Step::Save;
                if self.config.variant == Variant::SpoolRemovedBeforeSave {
                    self.me().step = Step::Unspool(Then::Save);
                }
            }
            Step::Save => self.save(),
            Step::ReadBack => self.stored_something_else(),
            Step::Unspool(then) => {
                let me = self.me();
                me.spool = None;
                me.step = match then {
                    Then::Clear => Step::Clear,
                    Then::StartAgain => Step::Renew,
                    Then::Save => Step::Save,
                };
            }
            Step::Clear => self.clear(),
            Step::Release(outcome) => self.release(outcome),
            Step::ReadRefused => {
                let stored = self.state.store.token;
                let me = self.me();
                let same = stored.refresh == me.read.refresh;
                me.step = if same { Step::Mark } else { Step::Renew };
            }
            Step::Mark => self.mark(),
            Step::Down | Step::Done(_) => unreachable!("there is nothing to do"),
        }
    }

    fn take_lease(&mut self) {
        let store = &mut self.state.store;
        store.generation += 1;
        store.held = true;
        let generation = store.generation;
        let me = self.me();
        me.lease = generation;
        me.step = Step::ReadAgain;
    }

    /// A lease that has passed on does not come back; without it, nobody asks a second time.
    fn renew(&mut self) {
        let lease = self.me().lease;
        let store = &mut self.state.store;
        if store.generation == lease {
            store.held = true;
            self.me().step = Step::ReadAgain;
        } else if self.config.variant == Variant::StartsAgainWithoutLease {
            self.me().step = Step::ReadAgain;
        } else {
            let me = self.me();
            *me = Process { unsaved: me.unsaved, ..Process::started(me.spool) };
        }
    }

    fn read_again(&mut self) {
        let Store { token: stored, notes, .. } = self.state.store;
        let variant = self.config.variant;
        let me = self.me();
        let left = me.unsaved.or(me.spool);
        me.unsaved = None;
        me.fenced = true;
        me.seen = notes;
        if variant != Variant::NoReadUnderLease {
            me.read = stored;
        }
        if let Some(left) = left {
            if takes_the_place_of(&left, &stored, variant) {
                let me = self.me();
                me.unsaved = Some(left);
                me.step = Step::Save;
            } else {
                self.drop_unsaved();
            }
            return;
        }
        let read = self.me().read;
        if self.state.is_fresh(read) {
            self.publish(read);
            self.me().step = Step::Release(Outcome::Token);
        } else if self.state.is_refused() {
            self.me().step = Step::Release(Outcome::NeedsLogin);
        } else {
            self.me().step = Step::Record;
        }
    }

    /// The record replaces what was read; if somebody has written since, read again.
    fn record(&mut self) {
        let variant = self.config.variant;
        let notes = self.state.store.notes;
        let me = self.me();
        let generation = me.lease;
        let unchanged = me.seen == notes || variant == Variant::RecordUncompared;
        let Some(sent) = me.newest().refresh else {
            me.step = Step::Release(Outcome::NeedsLogin);
            return;
        };
        me.seen = Notes::default();
        me.step = if unchanged { Step::Ask } else { Step::Renew };
        if unchanged && variant != Variant::NoRecordInFlight {
            self.state.store.notes.in_flight = Some(InFlight { generation, sent });
        }
    }

    fn ask(&mut self) {
        let sent = self.me().newest().refresh.expect("was there to be recorded");
        let answer = self.state.provider.exchange(self.config.rotation, sent);
        let me = self.me();
        me.answer = Some(answer);
        me.step = Step::Receive;
    }

    fn receive(&mut self) {
        let variant = self.config.variant;
        let me = self.me();
        let (refresh, access) = match me.answer.take() {
            Some(Answer::Issued { refresh, access }) => (refresh, access),
            Some(Answer::Refused) | None => {
                me.step = Step::ReadRefused;
                return;
            }
        };
        // What the answer lacks stays as it was.
        let kept = me.newest().refresh.filter(|_| variant != Variant::RefreshTokenCleared);
        let token = Token { refresh: refresh.or(kept), access };
        me.fenced = true;
        me.step = if variant == Variant::NoSpool { Step::Save } else { Step::Spool };
        if variant == Variant::PublishBeforeSave {
            self.publish(token);
        }
        let me = self.me();
        me.unsaved = Some(Unsaved { expected: me.read, token });
    }

    /// Saves the token in the slot; `None` if that failed.
    pub(crate) fn replace(&mut self) -> Option<Unsaved> {
        match self.try_replace() {
            (unsaved, Replaced::Saved) => Some(unsaved),
            (_, Replaced::Changed | Replaced::LeaseLost) => None,
        }
    }

    fn try_replace(&mut self) -> (Unsaved, Replaced) {
        let me = self.me();
        let unsaved = me.unsaved.expect("it is what is saved");
        let (expected, saver) = (me.read, Saver { generation: me.lease, fenced: me.fenced });
        let variant = self.config.variant;
        (unsaved, self.state.store.replace(variant, expected, unsaved.token, saver))
    }

    fn save(&mut self) {
        let (unsaved, answer) = self.try_replace();
        match answer {
            Replaced::Saved => self.saved(unsaved.token),
            Replaced::Changed => self.stored_something_else(),
            Replaced::LeaseLost => {
                let stored = self.state.store.token;
                let variant = self.config.variant;
                let me = self.me();
                let newer = stored != me.read && !unsaved.rotates();
                let dropped = newer || variant == Variant::DroppedWithTheLease;
                if stored.access != unsaved.token.access && unsaved.is_of(&stored) && dropped {
                    self.drop_unsaved();
                } else {
                    // The new holder has stored nothing yet, or does not have the refresh token
                    // that took the place of the stored one: the comparison suffices.
                    me.fenced = false;
                    self.stored_something_else();
                }
            }
        }
    }

    /// Reads what is stored where something else may be, and goes on from there.
    fn stored_something_else(&mut self) {
        let stored = self.state.store.token;
        let variant = self.config.variant;
        let me = self.me();
        let unsaved = me.unsaved.expect("it is what is saved");
        if stored == unsaved.token {
            self.saved(stored);
        } else if takes_the_place_of(&unsaved, &stored, variant) {
            me.read = stored;
            me.step = Step::Save;
        } else {
            self.drop_unsaved();
        }
    }

    fn saved(&mut self, token: Token) {
        self.publish(token);
        let me = self.me();
        me.unsaved = None;
        me.fenced = true;
        me.read = Token::FIRST;
        me.step = if me.spool.is_some() { Step::Unspool(Then::Clear) } else { Step::Clear };
    }

    /// A newer login or a newer token took the place of what this process was issued.
    fn drop_unsaved(&mut self) {
        let me = self.me();
        me.unsaved = None;
        me.fenced = true;
        me.step = if me.spool.is_some() { Step::Unspool(Then::StartAgain) } else { Step::Renew };
    }

    /// The new token stays in the slot and in the spool, is used, and is saved later. If it is too
    /// old to be used and did not rotate, it is renewed.
    pub(crate) fn save_failed(&mut self) {
        let Store { token: stored, notes, .. } = self.state.store;
        let unsaved = self.me().unsaved.expect("it is what is saved");
        self.me().fenced = true;
        if self.state.is_fresh(unsaved.token) {
            self.publish(unsaved.token);
            let me = self.me();
            me.read = Token::FIRST;
            me.step = Step::Release(Outcome::Token);
        } else if unsaved.rotates() && self.config.variant != Variant::RotatedAgainUnsaved {
            // Nobody else could follow two rotations, so one at a time.
            let me = self.me();
            me.read = Token::FIRST;
            me.step = Step::Release(Outcome::Failed);
        } else if unsaved.is_of(&stored) {
            let me = self.me();
            me.read = stored;
            me.seen = notes;
            me.step = Step::Record;
        } else {
            self.drop_unsaved();
        }
    }

    fn clear(&mut self) {
        let anyones = self.config.variant == Variant::OthersRecordCleared;
        let lease = self.me().lease;
        let notes = &mut self.state.store.notes;
        notes.needs_login = None;
        if notes.in_flight.is_some_and(|record| anyones || record.generation == lease) {
            notes.in_flight = None;
        }
        self.me().step = Step::Release(Outcome::Token);
    }

    fn release(&mut self, outcome: Outcome) {
        let lease = self.me().lease;
        let store = &mut self.state.store;
        if store.generation == lease {
            store.held = false;
        }
        let stale = self.state.stale;
        let me = *self.me();
        if me.unsaved.is_some() || outcome == Outcome::Token && me.served <= stale {
            // It has something to save, or what it got is too old by now: the next flight.
            let next = Process { unsaved: me.unsaved, ..Process::started(me.spool) };
            *self.me() = next;
        } else {
            self.state.finish(self.index, outcome);
        }
    }

    fn mark(&mut self) {
        let stored = self.state.store.token.refresh;
        let me = *self.me();
        let by_fingerprint = self.config.variant != Variant::MarkWithoutFingerprint;
        let refused = if by_fingerprint { me.newest().refresh } else { stored };
        let notes = &mut self.state.store.notes;
        notes.needs_login = refused;
        if notes.in_flight.is_some_and(|record| record.generation == me.lease) {
            notes.in_flight = None;
        }
        self.me().step = Step::Release(Outcome::NeedsLogin);
    }

    /// Gives `token` to the callers.
    fn publish(&mut self, token: Token) {
        let kept = self.me().unsaved.is_some_and(|unsaved| unsaved.token == token);
        let store = &mut self.state.store;
        store.seen.served_unkept |= !kept && !store.was_stored(token);
        self.me().served = token.access;
    }
}

/// Whether `unsaved` is newer than what is stored, and of the same grant.
fn takes_the_place_of(unsaved: &Unsaved, stored: &Token, variant: Variant) -> bool {
    let newer = unsaved.rotates()
        || unsaved.token.access > stored.access
        || variant == Variant::OldLeftoversSaved;
    unsaved.is_of(stored) && newer
}
