//! TLS, by rustls: a layer between a connection and the driver, so drivers and everything behind know nothing of it. What is received is
//! decrypted into the connection's query buffer; what is ready to be sent is encrypted in pieces, one at a time, as the driver takes them.
//!
//! * `settings`: from the configuration's files to what sessions are made of;
//! * `session`: one connection's;
//! * `subject`: who a client's certificate says that it is.

mod session;
mod settings;
mod subject;

pub(crate) use session::{HANDSHAKE_MS, Tls, Took};
pub(crate) use settings::{TlsError, client_config, server_config};
