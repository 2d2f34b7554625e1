//! The connections of a core, by the slot that the driver knows them by.

use crate::core::connection::Connection;
use crate::driver::ConnId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    len: usize,
}

impl Connections {
    pub fn insert(&mut self, connection: Connection) -> ConnId {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(connection);
            return ConnId(slot);
        }
        self.slots.push(Some(connection));
        ConnId(self.slots.len() as u32 - 1)
    }

    /// Takes a connection out once the driver has closed it: then its slot may be used again.
    pub fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        let removed = self.slots.get_mut(conn.0 as usize)?.take()?;
        self.free.push(conn.0);
        self.len -= 1;
        Some(removed)
    }

    #[inline]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(conn.0 as usize)?.as_mut()
    }

    #[inline]
    pub fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.slots.get(conn.0 as usize)?.as_ref()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten()
    }

    pub fn ids(&self) -> Vec<ConnId> {
        (0..self.slots.len() as u32).map(ConnId).filter(|conn| self.slots[conn.0 as usize].is_some()).collect()
    }
}
