use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tokio::time::timeout;

use super::*;

fn event(kind: EventKind) -> Event {
    let token_id = TokenId::new("7").unwrap();
    Event { token_id, at: Timestamp::from_millis(1_764_000_000_000), kind }
}

fn lost(generation: u64) -> Event {
    event(EventKind::LeaseLost { generation })
}

fn generation(event: &Event) -> u64 {
    let EventKind::LeaseLost { generation } = event.kind else { panic!("{event:?}") };
    generation
}

/// What a reader can read without waiting; `None` at the end.
fn read(events: &mut EventStream) -> Option<Result<u64, Missed>> {
    let Some(next) = events.next().now_or_never() else { panic!("nothing to read") };
    next.map(|event| event.as_ref().map(generation).map_err(|missed| *missed))
}

#[test]
fn a_callback_that_panics_keeps_nobody_from_hearing() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (first, last) = (Arc::clone(&heard), Arc::clone(&heard));
    let events = Events::new(vec![
        Box::new(move |event| first.lock().unwrap().push(("first", generation(event)))),
        Box::new(|_| std::panic::resume_unwind(Box::new("a panic of the test"))),
        Box::new(move |event| last.lock().unwrap().push(("last", generation(event)))),
    ]);
    let mut reader = events.subscribe();
    events.emit(&lost(1));
    events.emit(&lost(2));
    let told = [("first", 1), ("last", 1), ("first", 2), ("last", 2)];
    assert_eq!(*heard.lock().unwrap(), told);
    assert_eq!(read(&mut reader), Some(Ok(1)));
}

#[test]
fn a_reader_gets_what_happens_from_when_it_asked_to_the_end() {
    let events = Events::new(Vec::new());
    events.emit(&lost(1));
    let mut early = events.subscribe();
    events.emit(&lost(2));
    let mut late = events.subscribe();
    events.emit(&lost(3));
    assert!([2, 3].map(|n| read(&mut early) == Some(Ok(n))).iter().all(|read| *read));
    assert_eq!(read(&mut late), Some(Ok(3)));
    assert!(early.next().now_or_never().is_none());
    drop(events);
    assert_eq!(read(&mut early), None);
    assert_eq!(read(&mut late), None);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_waits_is_woken() {
    let events = Events::new(Vec::new());
    let mut reader = events.subscribe();
    let waiting = Duration::from_secs(1);
    let read = tokio::spawn(async move { timeout(waiting, reader.next()).await });
    tokio::task::yield_now().await;
    events.emit(&lost(1));
    assert_eq!(generation(&read.await.unwrap().unwrap().unwrap().unwrap()), 1);
}

#[test]
fn a_reader_who_is_too_slow_is_told_how_many_it_lost() {
    let events = Events::new(Vec::new());
    let mut slow = events.subscribe();
    let all = EventStream::CAPACITY as u64 + 5;
    for n in 0..all {
        events.emit(&lost(n));
    }
    let error = read(&mut slow).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "5 events were lost: they were read too slowly");
    for n in 5..all {
        assert_eq!(read(&mut slow), Some(Ok(n)));
    }
    assert!(slow.next().now_or_never().is_none());
}

#[test]
fn without_readers_nothing_is_kept() {
    let events = Events::new(Vec::new());
    events.emit(&lost(1));
    assert!(events.readers.get().is_none());
    drop(events.subscribe());
    events.emit(&lost(2));
    assert!(events.readers.get().unwrap().is_empty());
}
