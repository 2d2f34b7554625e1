//! What is tortured: a server that is started, killed and started again, or one that is there already.

use crate::{Client, Result, Server, ServerSpec};

/// Something to connect to.
pub trait Subject {
    /// Where it listens now.
    fn target(&self) -> Port;

    /// A new connection.
    ///
    /// # Errors
    /// When nothing listens there.
    fn connect(&self) -> Result<Client> {
        Client::connect(self.target().0)
    }

    /// Ends a round while its commands are on their way; false if this is not the way to end it.
    ///
    /// # Errors
    /// When that fails, or the server has ended by itself.
    fn kill(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Makes it serve again after [`Subject::kill`].
    ///
    /// # Errors
    /// When it does not.
    fn revive(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What listens on a port of this machine, for as long as the torture lasts.
#[derive(Debug, Clone, Copy)]
pub struct Port(pub u16);

impl Subject for Port {
    fn target(&self) -> Port {
        *self
    }
}

/// A server of one's own.
#[derive(Debug)]
pub struct Own {
    spec: ServerSpec,
    cores: Vec<u16>,
    starts: u64,
    server: Server,
    is_killed: bool,
}

impl Own {
    /// Starts it, each time with the next of `cores` if there are any; `is_killed` says how its rounds end.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(spec: &ServerSpec, cores: &[u16], is_killed: bool) -> Result<Self> {
        let server = Server::start(&spec.cores_in_turn(cores, 0))?;
        Ok(Self { spec: spec.clone(), cores: cores.to_vec(), starts: 1, server, is_killed })
    }

    /// Adds to an error that, or how, the server has ended.
    pub fn explain(&mut self, error: &crate::Error) -> crate::Error {
        match self.server.exited() {
            Ok(Some(status)) => self.server.failure(format!("the server died by itself: {status}; {error}")),
            _ => self.server.failure(error.to_string()),
        }
    }
}

impl Subject for Own {
    fn target(&self) -> Port {
        Port(self.server.port())
    }

    fn kill(&mut self) -> Result<bool> {
        if let Some(status) = self.server.exited()? {
            return Err(self.server.failure(format!("the server died by itself: {status}")));
        }
        if self.is_killed {
            self.server.kill9()?;
        }
        Ok(self.is_killed)
    }

    fn revive(&mut self) -> Result<()> {
        self.server = Server::start(&self.spec.cores_in_turn(&self.cores, self.starts))?;
        self.starts += 1;
        Ok(())
    }
}
