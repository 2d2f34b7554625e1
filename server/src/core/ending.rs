//! How the server ends: no new requests on any core, what is under way is answered, then all logs are synced.
//!
//! ```text
//!   first core:  Serving --SHUTDOWN, signal--> Draining --all have drained, or 5 s--> Closing
//!                            | Drain                |  Close
//!   each other:  Serving ----'----> Draining -------'------> Closing
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::accept::Door;
use crate::core::message::{CoreId, Message};
use crate::core::shard::{Data, Shutdown};
use crate::core::turn::{Core, Ended};
use crate::driver::{Driver, Event, ListenerId, Wait};

/// How long requests that are at other cores may take to be answered: a full disk may keep them for ever.
const DRAIN_FOR: Duration = Duration::from_secs(5);

/// How often a core that waits for something looks.
const LOOK: Wait = Wait { timeout: Duration::from_millis(10), gather_time: Duration::ZERO, gather_events: 0 };

/// See the module.
#[derive(Debug)]
pub(crate) enum Ending {
    Serving,
    /// `left`: of the first core, how many have not drained yet. `until`: when it goes on anyway.
    Draining {
        shutdown: Shutdown,
        left: usize,
        until: Instant,
        told: bool,
    },
    Closing(Shutdown),
}

impl Ending {
    /// Another core has drained.
    pub fn drained(&mut self) {
        if let Self::Draining { left, .. } = self {
            *left = left.saturating_sub(1);
        }
    }
}

impl<D: Driver> Core<D> {
    /// Takes no new requests any more.
    pub fn drain(&mut self) {
        let shutdown = Shutdown { force: false, save: true };
        let left = usize::from(self.shard.peers.len());
        self.ending = Ending::Draining { shutdown, left, until: Instant::now() + DRAIN_FOR, told: false };
        self.shard.is_draining = true;
        self.shard.end_blocks();
        for listener in 0..self.doors.len() as u8 {
            self.driver.unlisten(ListenerId(listener));
        }
        for door in &self.doors {
            if let Door::Unix(path) = door {
                // nobody can connect by it any more, and it may be gone already
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Does the next step of ending, if one is due. `Some`: this core is to close.
    pub fn go_on_ending(&mut self) -> Option<Shutdown> {
        let me = self.shard.me;
        if let Some(asked) = self.shard.shutdown.take() {
            if me != CoreId::FIRST {
                self.shard.peers.send(CoreId::FIRST, Message::Shutdown(asked));
            } else if matches!(self.ending, Ending::Serving) {
                self.drain();
                if let Ending::Draining { shutdown, .. } = &mut self.ending {
                    *shutdown = asked;
                }
                for core in self.shard.peers.others(me) {
                    self.shard.peers.send(core, Message::Drain);
                }
            }
        }
        if self.shard.is_draining {
            self.shard.end_pulls();
            self.shard.end_blocks();
        }
        let has_drained = self.shard.away.load.requests == 0
            && self.shard.coordinator.open() == 0
            && self.shard.gathers.is_empty()
            && self.shard.blocks.is_empty();
        match &mut self.ending {
            Ending::Serving => None,
            Ending::Closing(shutdown) => Some(*shutdown),
            Ending::Draining { shutdown, left, until, told } => {
                if has_drained && !std::mem::replace(told, true) {
                    if me == CoreId::FIRST {
                        *left -= 1;
                    } else {
                        self.shard.peers.send(CoreId::FIRST, Message::Drained);
                    }
                }
                let shutdown = *shutdown;
                if me != CoreId::FIRST || (*left > 0 && Instant::now() < *until) {
                    return None;
                }
                for core in self.shard.peers.others(me) {
                    self.shard.peers.send(core, Message::Close(shutdown));
                }
                Some(shutdown)
            }
        }
    }

    /// Ends the core: everything executed so far written and synced, its replies sent.
    pub fn end(mut self, shutdown: Shutdown) -> io::Result<Ended> {
        let gone = Data::Loading { progress: Arc::default(), since_ms: self.shard.now_ms };
        if shutdown.save {
            self.save_at_end()?;
        }
        // jobs that are under way end first, so that nothing is written behind the last sync
        while self.shard.owned().is_some_and(|owned| owned.list.iter().any(|own| own.partition.log().is_busy())) {
            self.finish_jobs(LOOK)?;
        }
        let mut failed = None;
        if let Data::Ready(owned) = std::mem::replace(&mut self.shard.data, gone) {
            // all of them, whatever becomes of one
            for own in owned.list {
                match own.partition.close() {
                    Ok(()) => {}
                    Err(error) if shutdown.force => {
                        tracing::error!(%error, "the log could not be synced, and the end was forced");
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if failed.is_none() {
                self.send_last_replies()?;
            }
        }
        if let Some(error) = failed {
            return Ok(Ended::Unsynced(error));
        }
        if self.shard.me == CoreId::FIRST {
            tracing::info!("bye bye");
        }
        Ok(Ended::Orderly)
    }

    /// Takes what jobs have brought, and hands new ones on.
    pub(super) fn finish_jobs(&mut self, wait: Wait) -> io::Result<()> {
        let mut events = Vec::new();
        self.driver.poll(wait, &mut events)?;
        for event in events {
            match event {
                Event::Received(_, received) => self.driver.recycle(received),
                other => self.handle(other),
            }
        }
        let mut messages = Vec::new();
        self.shard.peers.take(self.shard.me, &mut messages);
        for message in messages {
            if let Message::Chore(answer) = message {
                self.shard.take_chore(answer);
            }
        }
        let Some(owned) = self.shard.owned() else { return Ok(()) };
        for (i, own) in owned.list.iter_mut().enumerate() {
            if own.partition.log().is_rewriting() {
                // the files that the unsynced bytes went to have yet to be named in the manifest
                own.partition.log_mut().end_turn();
            }
            own.hand_jobs_on(i, &mut self.driver, &self.housekeeping);
        }
        Ok(())
    }

    /// Everything is durable: the replies that waited may go, for a second at most.
    fn send_last_replies(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        for _ in 0..100 {
            for conn in self.shard.connections.ids() {
                if let Some(connection) = self.shard.connections.get_mut(conn) {
                    connection.release_all();
                    connection.send(conn, &mut self.driver);
                }
            }
            if self.shard.connections.iter().all(|connection| connection.unsent() == 0) {
                return Ok(());
            }
            self.driver.poll(LOOK, &mut events)?;
            for event in events.drain(..) {
                match event {
                    Event::Received(_, received) => self.driver.recycle(received),
                    other => self.handle(other),
                }
            }
        }
        Ok(())
    }
}
