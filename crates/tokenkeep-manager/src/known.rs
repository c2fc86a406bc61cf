//! Which tokens a manager knows, and for how long.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, Weak},
};

use tokenkeep_core::{OAuthToken, Timestamp, TokenId};

use crate::{TokenManager, memory::Memory, slot::Slot};

/// The tokens that a manager knows.
#[derive(Default)]
pub(crate) struct Slots {
    known: HashMap<TokenId, Known>,
    /// With so many, those that are of no use any more are looked for.
    clean_at: usize,
}

/// What a manager knows of a token.
struct Known {
    /// While there is a handle.
    slot: Weak<Slot>,
    /// Outlives the handles: what is not stored yet has no other place.
    memory: Arc<Memory>,
}

impl Known {
    fn is_of_use(&self, now: Timestamp) -> bool {
        self.slot.strong_count() > 0 || self.memory.is_of_use(now)
    }
}

impl TokenManager {
    /// Forgets a token that nobody has a handle of, if nothing of it has to be remembered.
    pub(crate) fn let_go(&self, id: &TokenId, memory: &Arc<Memory>) {
        let now = self.now();
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Two hold it: the map, and the slot that is being dropped.
        let held = |known: &Known| Arc::strong_count(&known.memory) > 2 || known.is_of_use(now);
        if slots.known.get(id).is_some_and(|it| Arc::ptr_eq(&it.memory, memory) && !held(it)) {
            slots.known.remove(id);
        }
    }

    /// The one slot in this manager of the token that is stored as `token` under this id.
    pub(crate) fn slot(&self, id: &TokenId, token: &OAuthToken) -> Arc<Slot> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // An official SDK gives the id of a deleted token again: that is another token.
        let known = slots.known.get(id).filter(|known| known.memory.is_of(token));
        if let Some(slot) = known.and_then(|known| known.slot.upgrade()) {
            return slot;
        }
        let memory =
            known.map_or_else(|| Arc::new(Memory::of(token)), |known| Arc::clone(&known.memory));
        if slots.known.len() >= slots.clean_at && !slots.known.contains_key(id) {
            let now = self.now();
            slots.known.retain(|_, known| known.is_of_use(now));
            // Rarely enough that it costs little for each token.
            slots.clean_at = (2 * slots.known.len()).max(64);
        }
        let slot = Arc::new(Slot::new(id.clone(), self.clone(), Arc::clone(&memory)));
        slots.known.insert(id.clone(), Known { slot: Arc::downgrade(&slot), memory });
        slot
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::{ListStore, TokenStore};

    use super::*;
    use crate::{ManagerError, ManagerErrorKind};

    fn known(manager: &TokenManager) -> usize {
        manager.0.slots.lock().unwrap().known.len()
    }

    #[tokio::test]
    async fn what_is_known_of_a_token_goes_with_its_last_handle_unless_it_is_of_use() {
        let store = ListStore::new();
        let manager = TokenManager::builder(store.clone()).build().unwrap();
        let mut handles = Vec::new();
        for number in 0..200 {
            let user = format!("{number}@example.com");
            let token = OAuthToken::builder().user_name(&user).refresh_token("test-refresh");
            store.save_token(&token.build().unwrap()).await.unwrap();
            handles.push(manager.user(&user).await.unwrap());
            handles.push(manager.user(&user).await.unwrap());
        }
        assert_eq!(known(&manager), 200);
        // After a failure there is a pause, for the handles to come too.
        let error = ManagerError::new(ManagerErrorKind::Network, "test");
        let memory = {
            let slots = manager.0.slots.lock().unwrap();
            Arc::clone(&slots.known[handles[0].id()].memory)
        };
        memory.contents().pauses.failed(&error, manager.now());
        drop((handles, memory));
        assert_eq!(known(&manager), 1);
    }
}
