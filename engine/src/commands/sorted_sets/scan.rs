//! ZSCAN.

use emberkv_log::disk::Disk;
use emberkv_resp::{Reply, format};

use super::numbers::seventeen_digits;
use crate::collections::{Encoding, Type, score_in};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn zscan(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let cursor = Self::parse_scan(request)?;
        let (key, found) = self.read_sorted(request, 1)?;
        let (next, pairs) = self.scan_pairs(request, Type::ZSet, key, found, cursor)?;
        // redis keeps the text of a score in a listpack, and writes that of others in another way than elsewhere
        let is_small = found.and_then(|found| self.head(found)).is_some_and(|head| head.encoding == Encoding::Listpack);
        reply.array(2);
        reply.bulk_integer(next as i64);
        reply.array(pairs.len());
        for (i, text) in pairs.iter().enumerate() {
            if i.is_multiple_of(2) {
                reply.bulk(text);
            } else {
                let score = score_in(text);
                let text = if is_small { format::double(score) } else { seventeen_digits(score) };
                reply.bulk(text.as_bytes());
            }
        }
        Ok(())
    }
}
