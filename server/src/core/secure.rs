//! Connections that speak TLS: from received bytes to requests, and from replies to what the driver sends.

use crate::config::CertificateUser;
use crate::core::connection::{Connection, Fate};
use crate::core::shard::Shard;
use crate::core::turn::Core;
use crate::driver::{ConnId, Driver, Received};
use crate::tls::{HANDSHAKE_MS, Took};

/// Steps of handshakes that are done in a turn: one signs, or checks a signature, and whoever has shaken hands before should not wait for
/// many of them.
const HANDSHAKES_PER_TURN: usize = 4;

impl Connection {
    /// Hands the driver what TLS has to send, unless it is still at the last piece.
    #[inline]
    pub fn pump<D: Driver>(&mut self, conn: ConnId, driver: &mut D) {
        if let Some(tls) = &mut self.tls
            && self.fate != Fate::Closing
            && let Some(piece) = tls.next_piece()
        {
            driver.send(conn, piece);
        }
    }

    /// Whether it has yet to be told that nothing follows, which it is now.
    pub fn says_goodbye<D: Driver>(&mut self, conn: ConnId, driver: &mut D) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        if !tls.say_goodbye() {
            return false;
        }
        self.pump(conn, driver);
        self.tls.as_ref().is_some_and(|tls| tls.is_sending())
    }
}

impl Shard {
    /// The handshakes that have taken too long.
    pub fn overdue_handshakes(&self) -> Vec<ConnId> {
        let is_overdue = |conn: &ConnId| {
            self.connections.get(*conn).is_some_and(|connection| {
                connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking() && !tls.is_in_line)
                    && self.up_ms.saturating_sub(connection.created_ms) > HANDSHAKE_MS
            })
        };
        self.connections.ids().into_iter().filter(is_overdue).collect()
    }

    /// A client has shown who it is: with `tls-auth-clients-user` that may be a user.
    fn know_by_certificate(&mut self, conn: ConnId) {
        if self.config.tls_auth_clients_user != CertificateUser::CommonName {
            return;
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(name) = connection.tls.as_ref().and_then(|tls| tls.client_name()) else { return };
        match self.users.get(name).filter(|user| user.is_enabled()).cloned() {
            Some(user) => connection.be(user, &self.users, self.looks),
            None => {
                let name = String::from_utf8_lossy(name);
                tracing::info!(client = connection.id, "no user that is on has the certificate's name '{name}'");
            }
        }
    }
}

impl<D: Driver> Core<D> {
    /// Bytes of a connection that speaks TLS.
    #[cold]
    pub(super) fn received_tls(&mut self, conn: ConnId, received: Received) {
        let bytes = self.driver.bytes(&received);
        let Some(connection) = self.shard.connections.get_mut(conn) else {
            return self.driver.recycle(received);
        };
        let Some(tls) = &mut connection.tls else { return self.driver.recycle(received) };
        if tls.is_handshaking() {
            // also what comes behind it in the meantime, and no more than that
            let is_much = tls.keep(bytes);
            self.driver.recycle(received);
            if is_much && !connection.paused && !connection.eof {
                connection.paused = true;
                self.driver.pause(conn);
            }
            if !std::mem::replace(&mut tls.is_in_line, true) {
                self.handshakes.push_back(conn);
            }
            return;
        }
        let result = tls.receive(bytes, &mut connection.query);
        self.driver.recycle(received);
        self.took(conn, result);
    }

    /// Goes on with some handshakes.
    pub(super) fn shake_hands(&mut self) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(conn) = self.handshakes.pop_front() else { return };
            let Some(connection) = self.shard.connections.get_mut(conn) else { continue };
            let Some(tls) = &mut connection.tls else { continue };
            tls.is_in_line = false;
            if connection.fate == Fate::Closing {
                continue;
            }
            let input = tls.take_input();
            let result = tls.receive(&input, &mut connection.query);
            if result.is_ok() && !tls.is_handshaking() {
                self.shard.know_by_certificate(conn);
            }
            self.took(conn, result);
            // it may have been waited for to go on, or to end
            self.read_on(conn);
            self.shard.touch(conn);
        }
    }

    /// Bytes were decrypted.
    fn took(&mut self, conn: ConnId, result: Result<Took, rustls::Error>) {
        let Some(connection) = self.shard.connections.get_mut(conn) else { return };
        // it may have something to say for itself
        connection.pump(conn, &mut self.driver);
        match result {
            Err(error) => {
                tracing::debug!(client = connection.id, %error, "client closed: its tls is of no use");
                let is_handshaking = connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
                if is_handshaking && connection.fate == Fate::Open {
                    // it is told why first
                    connection.fate = Fate::CloseAfterReply;
                    self.shard.touch(conn);
                } else {
                    self.shard.condemned.push((conn, connection.id));
                }
                return;
            }
            Ok(Took::Closed) => {
                connection.eof = true;
                self.shard.touch(conn);
            }
            Ok(Took::Open) => {}
        }
        self.process_query(conn);
        self.check_input(conn);
    }
}
