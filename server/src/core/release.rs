//! Replies leave when what they depend on has been reached (law 2), in order, one send at a time.

use emberkv_log::LogPosition;

use crate::core::connection::{Connection, Fate};
use crate::core::depends::Depends;
use crate::core::pieces::{Spares, Waits};
use crate::core::shard::{Data, Shard};
use crate::driver::{ConnId, Driver};

/// While other cores' answers are to come, what comes before them is withheld up to so many bytes: a pipeline's
/// replies leave in one piece, as they do with one core, and are received in one.
const WITHHELD_BYTES: usize = 16 << 10;

impl Connection {
    /// Moves the replies of this turn, and of earlier ones, to where they may be sent from, as far as `gates`
    /// allow. Returns whether some have to wait for the log.
    fn release(&mut self, gates: &[LogPosition], spares: &mut Spares) -> bool {
        self.open = None;
        self.drop_if_silent();
        let mut waits = Waits::Nothing;
        if !self.pieces.is_empty() {
            waits = self.pieces.release(gates, &mut self.ready, spares);
        }
        if self.output.is_empty() {
            self.depends = Depends::default();
        } else if waits == Waits::Nothing && self.depends.is_reached(gates) {
            self.ready.append(&mut self.output);
            self.depends = Depends::default();
        } else {
            let output = std::mem::replace(&mut self.output, spares.take());
            self.pieces.stage(output, self.depends.take());
            waits = self.pieces.waits(gates);
        }
        waits == Waits::Log
    }

    /// Everything is durable: all replies may be sent that are here.
    pub fn release_all(&mut self) {
        self.drop_if_silent();
        self.pieces.release_all(&mut self.ready);
        if self.pieces.is_empty() {
            self.ready.append(&mut self.output);
        }
    }

    /// Hands the driver what is ready, unless it is still at the last piece.
    pub fn send<D: Driver>(&mut self, conn: ConnId, driver: &mut D) {
        if self.sending > 0 || self.ready.is_empty() || self.fate == Fate::Closing {
            return;
        }
        let spare = std::mem::take(&mut self.spare);
        let output = std::mem::replace(&mut self.ready, spare);
        self.sending = output.len();
        self.bytes_out += output.len() as u64;
        match &mut self.tls {
            None => driver.send(conn, output),
            Some(tls) => {
                tls.begin(output);
                self.pump(conn, driver);
            }
        }
    }
}

impl Shard {
    /// The end of a turn: sends what may be sent.
    pub fn release_replies<D: Driver>(&mut self, driver: &mut D) {
        let moved = match &mut self.data {
            Data::Ready(owned) => owned.gates(&mut self.gates),
            Data::Loading { .. } => false,
        };
        if self.link.is_some() {
            self.tell_durable();
        }
        if moved {
            self.tell_moved();
        }
        let holding = if moved { std::mem::take(&mut self.holding) } else { Vec::new() };
        let mut touched = std::mem::take(&mut self.touched);
        for conn in holding.iter().copied() {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.holding = false;
                self.release_one(conn, driver);
            }
        }
        for conn in touched.drain(..) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.touched = false;
                self.release_one(conn, driver);
            }
        }
        self.touched = touched;
    }

    fn release_one<D: Driver>(&mut self, conn: ConnId, driver: &mut D) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.release(&self.gates, &mut self.spares) && !connection.holding {
            connection.holding = true;
            self.holding.push(conn);
        }
        if connection.pieces.is_awaiting() && connection.ready.len() < WITHHELD_BYTES {
            if !connection.withheld {
                connection.withheld = true;
                self.withheld.push(conn);
            }
        } else {
            self.send(conn, driver);
        }
        self.check_output_limit(conn);
        self.close_if_done(conn, driver);
    }

    fn send<D: Driver>(&mut self, conn: ConnId, driver: &mut D) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let before = connection.bytes_out;
        connection.send(conn, driver);
        self.stats.bytes_out += connection.bytes_out - before;
        self.stats.writes += u64::from(connection.bytes_out > before);
    }

    /// Sends what was withheld: its other half has taken too long.
    pub fn send_withheld<D: Driver>(&mut self, driver: &mut D) {
        for conn in std::mem::take(&mut self.withheld) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.withheld = false;
                self.send(conn, driver);
            }
        }
    }

    /// Looks at every connection: one that reads nothing and asks nothing is over the soft limit too long some time.
    pub fn check_output_limits(&mut self) {
        let limits = self.config.client_output_buffer_limit;
        if limits.normal.soft_bytes > 0
            || limits.pubsub.soft_bytes > 0 && !(self.subscriptions.is_empty() && self.monitors.is_empty())
        {
            for conn in self.connections.ids() {
                self.check_output_limit(conn);
            }
        }
    }

    fn check_output_limit(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let limits = &self.config.client_output_buffer_limit;
        let limit = if connection.listening.is_some() || connection.monitors { limits.pubsub } else { limits.normal };
        if limit.hard_bytes == 0 && limit.soft_bytes == 0 {
            return;
        }
        let unsent = connection.unsent() as u64;
        let over_soft = limit.soft_bytes > 0 && unsent > limit.soft_bytes;
        let since = *connection.over_soft_since_ms.get_or_insert(self.up_ms);
        if !over_soft {
            connection.over_soft_since_ms = None;
        }
        let too_long = over_soft && self.up_ms.saturating_sub(since) >= limit.soft_seconds * 1000;
        if (limit.hard_bytes > 0 && unsent > limit.hard_bytes || too_long) && connection.fate != Fate::Closing {
            tracing::warn!(client = connection.id, unsent, "client closed: over client-output-buffer-limit");
            self.stats.output_buffer_disconnections += 1;
            self.condemned.push((conn, connection.id));
        }
    }

    /// Closes a connection that has nothing more to get and is to end then.
    pub fn close_if_done<D: Driver>(&mut self, conn: ConnId, driver: &mut D) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let done = connection.fate == Fate::CloseAfterReply
            || connection.eof && connection.stall.is_none() && connection.fate == Fate::Open;
        if done && connection.is_flushed() {
            if connection.says_goodbye(conn, driver) {
                return; // and is closed when that is sent
            }
            connection.fate = Fate::Closing;
            driver.close(conn);
            self.leave_block(conn);
        }
    }

    /// Closes a connection now.
    pub fn close_now<D: Driver>(&mut self, conn: ConnId, driver: &mut D) {
        if let Some(connection) = self.connections.get_mut(conn)
            && connection.fate != Fate::Closing
        {
            connection.fate = Fate::Closing;
            driver.close(conn);
            self.leave_block(conn);
        }
    }
}
