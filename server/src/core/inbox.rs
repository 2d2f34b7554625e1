//! A core's inbox: what other threads want of it, in the order in which they said so.
//!
//! ```text
//!          push: CAS                       take: swap
//!   head --> newest --> ... --> oldest      head --> nothing, and the list is turned around
//!   head --> ASLEEP                         the owner waits in its poll: who replaces this wakes it
//! ```
//!
//! One list for all senders, and not a queue for each: when A has pushed before B does something that C sees, what C
//! pushes then comes after (D13). The owner's sleep is a value of the same word, so that nothing lies between
//! "is there nothing?" and "I sleep", and so that of several senders one wakes it.

use std::ptr;

use super::atomics::{AtomicPtr, Ordering};

/// See the module. `T` comes out on one thread, and is pushed by any.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    head: AtomicPtr<Node<T>>,
}

#[derive(Debug)]
pub(crate) struct Node<T> {
    next: *mut Node<T>,
    item: T,
}

/// What a push has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Owner {
    /// It will look by itself.
    Awake,
    /// It has to be woken, by this sender and no other.
    Asleep,
}

/// The head of a sleeper's list: no node's address.
fn asleep<T>() -> *mut Node<T> {
    ptr::without_provenance_mut(1)
}

// SAFETY: items only move through; a node belongs to whom has its pointer: the sender until it is pushed, the inbox
// until it is taken, then the owner.
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above: no reference to an item is ever shared.
unsafe impl<T: Send> Sync for Inbox<T> {}

impl<T> Inbox<T> {
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Appends an item.
    pub fn push(&self, item: T) -> Owner {
        let node = Box::into_raw(Box::new(Node { next: ptr::null_mut(), item }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = if head == asleep() { ptr::null_mut() } else { head };
            // SAFETY: the node is ours until the exchange has succeeded.
            unsafe { (*node).next = next };
            // Release: who takes the list sees the items. Those of earlier pushes too, as each exchange goes on the
            // release sequence of the one before.
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) if head == asleep() => return Owner::Asleep,
                Ok(_) => return Owner::Awake,
                Err(now) => head = now,
            }
        }
    }

    /// Moves everything that was pushed to the end of `items`, oldest first. The owner is awake then.
    pub fn take(&self, items: &mut Vec<T>) {
        let mut head = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        if head.is_null() || head == asleep() {
            return;
        }
        let first = items.len();
        while !head.is_null() {
            // SAFETY: the list was taken out whole, so its nodes are ours; each came out of a box, once.
            let node = unsafe { Box::from_raw(head) };
            head = node.next;
            items.push(node.item);
        }
        items[first..].reverse();
    }

    /// The owner goes to sleep, unless something has been pushed; returns whether it may. From then on the first
    /// push says that it has to be woken; [`Inbox::take`] ends that.
    pub fn sleep(&self) -> bool {
        // nothing is read by way of this, and a waker synchronises by itself
        self.head.compare_exchange(ptr::null_mut(), asleep(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.take(&mut Vec::new());
    }
}
