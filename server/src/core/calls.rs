//! What a core says to others in the course of its turns: those who sleep are woken with the rest of what it submits, if its driver
//! can do that.

use crate::core::inbox::Owner;
use crate::core::message::{CoreId, Message};
use crate::core::peers::Peers;
use crate::driver::Driver;

/// See the module.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Whether who sleeps is woken by [`Calls::wake`], not at once.
    are_queued: bool,
    /// Those who sleep. Each has been found asleep by one sender, so nobody is in it twice.
    asleep: Vec<CoreId>,
}

impl Calls {
    pub fn new(are_queued: bool) -> Self {
        Self { are_queued, asleep: Vec::new() }
    }

    /// Says something to a core, and has it woken if it sleeps. Returns whether it does.
    pub fn send(&mut self, peers: &Peers, to: CoreId, message: Message) -> bool {
        let sleeps = peers.push(to, message) == Owner::Asleep;
        if sleeps && self.are_queued {
            self.asleep.push(to);
        } else if sleeps {
            peers.waker(to).wake();
        }
        sleeps
    }

    /// Wakes those who sleep. Before every poll, and before what takes long.
    pub fn wake<D: Driver>(&mut self, peers: &Peers, driver: &mut D) {
        for to in self.asleep.drain(..) {
            driver.wake(peers.waker(to));
        }
    }
}
