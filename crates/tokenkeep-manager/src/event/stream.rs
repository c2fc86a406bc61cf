use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use crate::Event;

/// What happens to the tokens of a manager, from when it was asked for, in the order in which it
/// happens.
///
/// It ends when the manager, its handles and its work are gone, or at once if nobody holds them.
///
/// Nobody waits for a reader: one who falls more than [`CAPACITY`](Self::CAPACITY) events behind
/// loses the oldest of them and is told how many. A reader who leaves is forgotten.
///
/// ```
/// use tokenkeep_core::ListStore;
/// use tokenkeep_manager::{EventKind, TokenManager};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = TokenManager::builder(ListStore::new()).build()?;
/// let mut events = manager.events();
/// tokio::spawn(async move {
///     while let Some(event) = events.next().await {
///         match event {
///             Ok(event) => println!("{}: {:?}", event.token_id, event.kind),
///             Err(missed) => println!("{missed}"),
///         }
///     }
/// });
/// # Ok(())
/// # }
/// ```
pub struct EventStream(BroadcastStream<Event>);

impl EventStream {
    /// How many events are kept for a reader who is behind.
    pub const CAPACITY: usize = 1024;

    pub(super) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self(BroadcastStream::new(receiver))
    }

    /// The next event; `None` if there will be no more.
    ///
    /// No event is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// How many events are lost, if this reader was too slow. The next call goes on after them.
    pub async fn next(&mut self) -> Option<Result<Event, Missed>> {
        StreamExt::next(self).await
    }
}

impl Stream for EventStream {
    type Item = Result<Event, Missed>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Event, Missed>>> {
        self.0.poll_next_unpin(context).map(|next| {
            next.map(|event| {
                event.map_err(|BroadcastStreamRecvError::Lagged(events)| Missed { events })
            })
        })
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

/// A reader of an [`EventStream`] was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// How many events it has not seen.
    pub events: u64,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events were lost: they were read too slowly", self.events)
    }
}

impl Error for Missed {}
