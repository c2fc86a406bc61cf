//! Servers that are killed, one at a time, and come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokenkeep_servers::Server;

use crate::place::{Engine, victim};

/// What is lost while a fleet is at work.
pub(crate) struct Losses {
    /// Twice the number of losses that are over, and one more while one is under way.
    steps: Arc<AtomicUsize>,
    /// Which node was lost last.
    node: Arc<AtomicUsize>,
    stop: Sender<()>,
    thread: JoinHandle<Server>,
}

impl Losses {
    /// Kills a node each `every`, so many times; each comes back after `down`.
    pub(crate) fn of(
        engine: Engine,
        mut server: Server,
        every: Duration,
        down: Duration,
        losses: usize,
    ) -> Self {
        let (steps, node) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (stop, stopped) = channel();
        let (counted, lost) = (Arc::clone(&steps), Arc::clone(&node));
        let thread = thread::spawn(move || {
            for number in 0..losses {
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                let node = victim(engine, &server, number);
                lost.store(node, Ordering::SeqCst);
                counted.fetch_add(1, Ordering::SeqCst);
                server.kill(node);
                if engine == Engine::PostgresPair && number == 0 {
                    // The first primary never comes back.
                    server.promote().unwrap();
                } else {
                    let asked = stopped.recv_timeout(down) != Err(RecvTimeoutError::Timeout);
                    server.restart(node).unwrap();
                    if asked {
                        counted.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                }
                counted.fetch_add(1, Ordering::SeqCst);
            }
            server
        });
        Self { steps, node, stop, thread }
    }

    /// How many have begun or ended: it tells two moments apart between which there was one.
    pub(crate) fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }

    /// How many are over.
    pub(crate) fn over(&self) -> usize {
        self.steps() / 2
    }

    /// The node that was lost last.
    pub(crate) fn node(&self) -> usize {
        self.node.load(Ordering::SeqCst)
    }

    /// The servers, all of which run again but those that were replaced.
    pub(crate) fn end(self) -> (Server, usize) {
        // Nobody listens if it failed, which the next line tells.
        self.stop.send(()).unwrap_or_default();
        let server = self.thread.join().unwrap();
        (server, self.steps.load(Ordering::SeqCst) / 2)
    }
}
