//! The inbox under loom: the orders of its steps, over the outcomes that the memory model allows.

use loom::cell::Cell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use self::inbox::{Inbox, Owner};

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicPtr, Ordering};
}

#[allow(clippy::duplicate_mod, reason = "the same code over other atomics")]
#[path = "inbox.rs"]
mod inbox;

/// An item whose contents loom watches: a read that does not come after the write is reported.
struct Item(Cell<u32>);

// SAFETY: the model's threads hand it over by the inbox; that this is enough is what loom checks.
unsafe impl Send for Item {}

fn item(value: u32) -> Item {
    let item = Item(Cell::new(0));
    item.0.set(value);
    item
}

fn taken(inbox: &Inbox<Item>) -> Vec<u32> {
    let mut items = Vec::new();
    inbox.take(&mut items);
    items.iter().map(|item| item.0.get()).collect()
}

/// All orders with at most three involuntary switches between threads: the rest takes half a minute and has found
/// nothing more.
fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn every_item_comes_out_once_and_a_senders_in_order() {
    bounded(|| {
        let inbox = Arc::new(Inbox::new());
        let senders: Vec<_> = [10, 20]
            .into_iter()
            .map(|first| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    let _ = inbox.push(item(first));
                    let _ = inbox.push(item(first + 1));
                })
            })
            .collect();
        let mut all = taken(&inbox);
        for sender in senders {
            sender.join().unwrap();
        }
        all.extend(taken(&inbox));
        for first in [10, 20] {
            let of_one: Vec<u32> = all.iter().copied().filter(|value| value / 10 == first / 10).collect();
            assert_eq!(of_one, [first, first + 1]);
        }
    });
}

#[test]
fn what_was_pushed_because_of_an_item_comes_after_it() {
    loom::model(|| {
        let (inbox, other) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
        let first = {
            let (inbox, other) = (Arc::clone(&inbox), Arc::clone(&other));
            thread::spawn(move || {
                let _ = inbox.push(item(1));
                let _ = other.push(item(0));
            })
        };
        let second = {
            let (inbox, other) = (Arc::clone(&inbox), Arc::clone(&other));
            thread::spawn(move || {
                if !taken(&other).is_empty() {
                    let _ = inbox.push(item(2));
                }
            })
        };
        let mut all = taken(&inbox);
        first.join().unwrap();
        second.join().unwrap();
        all.extend(taken(&inbox));
        assert!(all == [1] || all == [1, 2], "{all:?}");
    });
}

#[test]
fn a_sleeper_is_woken_once_and_never_missed() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let woken = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..2)
            .map(|value| {
                let (inbox, woken) = (Arc::clone(&inbox), Arc::clone(&woken));
                thread::spawn(move || {
                    if inbox.push(item(value)) == Owner::Asleep {
                        let again = woken.swap(true, atomics::Ordering::AcqRel);
                        assert!(!again, "one wake is enough");
                    }
                })
            })
            .collect();
        let sleeps = inbox.sleep();
        for sender in senders {
            sender.join().unwrap();
        }
        // it slept and was woken, or there was something before it slept
        assert_eq!(sleeps, woken.load(atomics::Ordering::Acquire));
        assert_eq!(taken(&inbox).len(), 2);
    });
}
