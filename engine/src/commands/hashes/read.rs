//! All that a hash holds.

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use crate::collections::Type;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    /// HGETALL, HKEYS, HVALS.
    pub(in crate::commands) fn hgetall(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (fields, values) = (request.id != CommandId::Hvals, request.id != CommandId::Hkeys);
        let (key, found) = self.read_collection(request, Type::Hash)?;
        let count = found.and_then(|found| self.head(found)).map_or(0, |head| head.count as usize);
        let mut begin =
            Some(|reply: &mut Reply<'_>| if fields && values { reply.map(count) } else { reply.array(count) });
        if let Some(found) = found {
            self.each_pair(key, found, |pair| {
                if let Some(begin) = begin.take() {
                    begin(reply);
                }
                if fields {
                    reply.bulk(pair.field);
                }
                if values {
                    reply.bulk(pair.value);
                }
            })?;
        }
        if let Some(begin) = begin {
            begin(reply); // there is none
        }
        Ok(())
    }
}
