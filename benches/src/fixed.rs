//! The harness's own workload: one kind of request, prepared once, whose replies all have one form.

use std::net::Ipv4Addr;

use emberkv_load::{Endpoint, LoadError, Random, Workload};

use crate::cell::{Op, ValueSize};
use crate::reply::Replies;
use crate::request::{Batch, Keys};

/// A closed loop of it.
pub type ClosedLoop = emberkv_load::ClosedLoop<Fixed>;

/// An open loop of it.
pub type OpenLoop = emberkv_load::OpenLoop<Fixed>;

/// What every connection of a client sends.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The server's port on the loopback interface.
    pub port: u16,
    /// The command.
    pub op: Op,
    /// The size of the values.
    pub value: ValueSize,
    /// The depth of the pipeline, in requests.
    pub pipeline: usize,
    /// The number of connections.
    pub clients: usize,
}

impl Shape {
    /// Connects a client of the closed loop.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn closed_loop(&self, keys: Keys, random: &mut Random) -> Result<ClosedLoop, LoadError> {
        ClosedLoop::connect(&self.endpoint(), self.clients, self.pipeline, self.workload(keys, random))
    }

    /// Connects a client of the open loop.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn open_loop(&self, keys: Keys, random: &mut Random) -> Result<OpenLoop, LoadError> {
        OpenLoop::connect(&self.endpoint(), self.clients, self.pipeline, self.workload(keys, random))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new((Ipv4Addr::LOCALHOST, self.port).into())
    }

    fn workload(&self, keys: Keys, random: &mut Random) -> Fixed {
        Fixed { shape: *self, keys, random: Random::new(random.next_u64()) }
    }
}

/// The workload: connections share the keys.
pub struct Fixed {
    shape: Shape,
    keys: Keys,
    random: Random,
}

/// A connection's part of it.
pub struct Lane {
    batch: Batch,
    replies: Replies,
}

impl Workload for Fixed {
    type Lane = Lane;

    fn lane(&mut self, index: usize) -> Lane {
        let Shape { op, value, pipeline, .. } = self.shape;
        let op = op.of_connection(index);
        Lane { batch: Batch::new(op, value, pipeline, &mut self.random), replies: Replies::new(op, value) }
    }

    fn fill<'a>(&'a mut self, lane: &'a mut Lane, index: usize, limit: usize) -> (usize, &'a [u8]) {
        lane.batch.fill(&mut self.keys, index, limit)
    }

    fn feed(&mut self, lane: &mut Lane, bytes: &[u8]) -> Result<u64, LoadError> {
        lane.replies.feed(bytes)
    }
}
