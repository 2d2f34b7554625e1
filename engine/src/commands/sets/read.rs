//! SMEMBERS and SRANDMEMBER.

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use crate::collections::{Type, Wanted};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn smembers(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_collection(request, Type::Set)?;
        let Some(found) = found else {
            reply.set(0);
            return Ok(());
        };
        let count = self.head(found).map_or(0, |head| head.count as usize);
        // all of them are here before any is replied
        let mut begin = Some(|reply: &mut Reply<'_>| reply.set(count));
        self.each_pair(key, found, |pair| {
            if let Some(begin) = begin.take() {
                begin(reply);
            }
            reply.bulk(pair.field);
        })
    }

    pub(in crate::commands) fn srandmember(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let Some(count) = request.args.get(2) else { return self.random_element(request, Type::Set, reply) };
        if request.args.len() > 3 {
            return Err(Stop::SYNTAX);
        }
        let wanted = Wanted::parse(count, false)?.bounded()?;
        let (key, found) = self.read_collection(request, Type::Set)?;
        let drawn = match found {
            Some(found) if wanted.count != 0 => self.random_elements(key, found, wanted)?,
            _ => Strings::default(),
        };
        reply.array(drawn.len());
        drawn.iter().for_each(|member| reply.bulk(member));
        Ok(())
    }
}
