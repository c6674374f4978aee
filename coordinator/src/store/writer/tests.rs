use std::{
    convert::Infallible,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use super::*;
use crate::store::engine::{Fault, MemoryEngine, Space};

/// A store whose writer is held at a command, and what ran since.
struct Held {
    store: Store,
    ran: Arc<Mutex<Vec<String>>>,
    gate: mpsc::Sender<()>,
}

impl Held {
    async fn new() -> Self {
        let (store, _writer) = start(Arc::new(MemoryEngine::new(1))).unwrap();
        let (gate, opened) = mpsc::channel::<()>();
        let held = store.submit(Priority::Normal, move |_| {
            opened.recv().unwrap();
            Ok::<_, Infallible>(())
        });
        drop(held.await.unwrap());
        while store.backlog().0 > 0 {
            tokio::task::yield_now().await;
        }
        Self { store, ran: Arc::default(), gate }
    }

    async fn submit(&self, priority: Priority, name: &str) -> Submitted<(), Infallible> {
        let (ran, name) = (Arc::clone(&self.ran), name.to_owned());
        let command = move |_: &mut Staged<'_>| {
            ran.lock().unwrap().push(name);
            Ok(())
        };
        self.store.submit(priority, command).await.unwrap()
    }

    fn ran(&self) -> String {
        self.ran.lock().unwrap().join(" ")
    }
}

#[tokio::test]
async fn an_urgent_command_goes_before_all_that_wait_and_each_priority_keeps_its_order() {
    let held = Held::new().await;
    let mut submitted = Vec::new();
    for name in ["a", "b", "c"] {
        submitted.push(held.submit(Priority::Normal, name).await);
    }
    for name in ["U", "V"] {
        submitted.push(held.submit(Priority::Urgent, name).await);
    }
    held.gate.send(()).unwrap();
    for outcome in submitted {
        outcome.await.unwrap();
    }
    assert_eq!(held.ran(), "U V a b c");
}

#[tokio::test]
async fn an_urgent_command_ends_its_group_and_does_not_wait_for_the_backlog_behind() {
    let held = Held::new().await;
    let first = held.submit(Priority::Normal, "a").await;
    let (release, released) = mpsc::channel::<()>();
    let stuck = held.store.submit(Priority::Normal, move |_| {
        released.recv().unwrap();
        Ok::<_, Infallible>(())
    });
    let stuck = stuck.await.unwrap();
    let urgent = held.submit(Priority::Urgent, "U").await;
    held.gate.send(()).unwrap();
    // If it shared a group with what is stuck, it would not be answered before that is released.
    let answered = tokio::time::timeout(Duration::from_secs(60), urgent).await;
    release.send(()).unwrap();
    answered.expect("the urgent command is answered at once").unwrap();
    first.await.unwrap();
    stuck.await.unwrap();
    assert_eq!(held.ran(), "U a");
}

#[tokio::test]
async fn urgent_commands_never_starve_the_others() {
    let held = Held::new().await;
    let normal = held.submit(Priority::Normal, "a").await;
    let mut urgent = Vec::new();
    for _ in 0..2 * GROUP_COMMANDS_MAX {
        urgent.push(held.submit(Priority::Urgent, "U").await);
    }
    held.gate.send(()).unwrap();
    normal.await.unwrap();
    for outcome in urgent {
        outcome.await.unwrap();
    }
    let place = held.ran.lock().unwrap().iter().position(|name| name == "a");
    assert!(place.is_some_and(|place| place <= GROUP_COMMANDS_MAX), "{place:?}");
}

#[tokio::test]
async fn a_flood_of_urgent_commands_leaves_the_others_their_share_of_each_commit() {
    let held = Held::new().await;
    let (mut urgent, mut normal) = (Vec::new(), Vec::new());
    for _ in 0..WRITER_QUEUE_MAX {
        urgent.push(held.submit(Priority::Urgent, "U").await);
        normal.push(held.submit(Priority::Normal, "a").await);
    }
    held.gate.send(()).unwrap();
    for outcome in urgent.into_iter().chain(normal) {
        outcome.await.unwrap();
    }
    let ran = held.ran.lock().unwrap();
    for group in ran.chunks(GROUP_COMMANDS_MAX) {
        let normal = group.iter().filter(|name| *name == "a").count();
        assert!(normal >= GROUP_COMMANDS_MAX / 3, "{normal} of {}", group.len());
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_ends_the_writer_so_that_the_process_does_not_go_on() {
    let engine = MemoryEngine::new(1);
    engine.fail_next_commit(Fault::Torn);
    let (store, writer) = start(Arc::new(engine)).unwrap();
    let mut head = store.journal_head();
    let write = |store: Store| async move {
        let command = |staged: &mut Staged<'_>| {
            staged.put(Space::Rows, b"key", "value");
            Ok::<_, Infallible>(())
        };
        store.write(command).await
    };
    assert!(matches!(write(store.clone()).await, Err(WriteError::Unknown(_))));
    assert!(head.changed().await.is_err(), "whoever follows the journal sees it end");
    assert_eq!(write(store.clone()).await, Err(WriteError::Stopped));
    writer.join();
}
