//! New connections.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use emberkv_resp::{Protocol, Reply};
use socket2::SockRef;

use crate::core::connection::{Connection, Fate};
use crate::core::message::{Adopt, Message};
use crate::core::shard::Shard;
use crate::driver::{ConnId, Driver, ListenerId, listen};
use crate::tls::Tls;

/// What a listener is.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// A TCP address.
    Tcp,
    /// The same, for TLS.
    Tls,
    /// A unix socket, by its path.
    Unix(String),
}

const PROTECTED: &str = "DENIED Redis is running in protected mode because protected mode is enabled and no \
    password is set for the default user. In this mode connections are only accepted from the loopback interface. \
    If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just \
    disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by \
    connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible \
    from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just \
    disable the protected mode by editing the Redis configuration file, and setting the protected mode option to \
    'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with \
    the '--protected-mode no' option. 4) Set up an authentication password for the default user. NOTE: You only \
    need to do one of the above things in order for the server to start accepting connections from the outside.";

impl Shard {
    /// Gives a new connection to the core with the fewest, or tells it why not and closes it.
    pub fn accept<D: Driver>(&mut self, doors: &[Door], listener: ListenerId, socket: OwnedFd, driver: &mut D) {
        let door = &doors[usize::from(listener.0)];
        let socket_ref = SockRef::from(&socket);
        let peer = socket_ref.peer_addr().ok().and_then(|address| address.as_socket());
        let local = socket_ref.local_addr().ok().and_then(|address| address.as_socket());
        let (address, local_address) = match door {
            Door::Unix(path) => (format!("{path}:0"), format!("{path}:0")),
            Door::Tcp | Door::Tls => {
                let text = |address: Option<std::net::SocketAddr>| {
                    address.map_or_else(|| "?:0".to_owned(), |address| address.to_string())
                };
                (text(peer), text(local))
            }
        };
        let is_unix = matches!(door, Door::Unix(_));
        if !is_unix && let Err(error) = listen::tune(&socket, self.config.tcp_keepalive) {
            tracing::debug!(%error, "a connection was gone before it was accepted");
            return;
        }
        let refusal = if self.is_draining {
            return;
        } else if self.peers.clients() >= self.config.maxclients as usize {
            if matches!(door, Door::Tls) {
                self.stats.rejected_connections += 1;
                return; // to tell it why would take a handshake
            }
            Some("ERR max number of clients reached")
        } else if self.is_protected_from(is_unix, peer.map(|address| address.ip())) {
            Some(PROTECTED)
        } else {
            None
        };
        let id = self.peers.next_client();
        let mut connection = Connection::new(id, address, local_address, is_unix, self.up_ms, &self.users);
        if matches!(door, Door::Tls) {
            // a panic on any thread ends the process, so the lock is never poisoned
            let settings = self.peers.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match settings.map(Tls::new) {
                Some(Ok(tls)) => connection.tls = Some(Box::new(tls)),
                Some(Err(error)) => return tracing::warn!(%error, "a tls connection can't be served"),
                None => return,
            }
        }
        if let Some(text) = refusal {
            Reply::new(&mut connection.output, Protocol::Resp2).error(text);
            connection.fate = Fate::CloseAfterReply;
            self.stats.rejected_connections += 1;
        }
        self.stats.connections += 1;
        let adopt = Adopt { connection, socket };
        if refusal.is_some() {
            self.peers.add_client(self.me);
            return self.adopt(adopt, driver);
        }
        let core = self.peers.deal_client();
        if core == self.me {
            self.adopt(adopt, driver);
        } else {
            self.peers.send(core, Message::Adopt(Box::new(adopt)));
        }
    }

    /// Serves a new connection.
    pub fn adopt<D: Driver>(&mut self, adopt: Adopt, driver: &mut D) {
        let mut connection = adopt.connection;
        // the core that accepted it may not have heard yet what has become of the default user
        connection.be_default(&self.users, self.looks);
        let conn = self.connections.insert(connection);
        if let Err(error) = driver.attach(conn, adopt.socket) {
            tracing::warn!(%error, "a new connection can't be served");
            self.forget(conn);
        } else {
            // it may have an error to get
            self.touch(conn);
        }
    }

    /// A connection is closed, and its place is free.
    pub fn forget(&mut self, conn: ConnId) {
        self.unsubscribe_all(conn);
        self.end_monitor(conn);
        self.set_tracking(conn, None);
        self.leave_block(conn);
        self.leave_pulls(conn);
        if self.connections.remove(conn).is_some() {
            self.peers.remove_client(self.me);
        }
    }

    fn is_protected_from(&self, is_unix: bool, peer: Option<IpAddr>) -> bool {
        self.config.protected_mode
            && self.users.default().needs_no_password()
            && !is_unix
            && !peer.is_some_and(|ip| ip.to_canonical().is_loopback())
    }
}
