//! What a [flight](crate::flight) is made of: `tests/flight_shuttle.rs` puts other things in the
//! place of these, to try the orders in which they can happen.

pub(crate) use std::sync::Mutex;

/// Starts a task that goes on by itself.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}
