//! HRANDFIELD.

use emberkv_log::disk::Disk;
use emberkv_resp::{Protocol, Reply};

use crate::collections::{Type, Wanted};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn hrandfield(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let Some(count) = args.get(2) else { return self.random_element(request, Type::Hash, reply) };
        let values = args.get(3).is_some();
        let wanted = Wanted::parse(count, values)?;
        if args.len() > 4 || args.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"withvalues")) {
            return Err(Stop::SYNTAX);
        }
        let wanted = wanted.bounded()?;
        let (key, found) = self.read_collection(request, Type::Hash)?;
        let drawn = match found {
            Some(found) if wanted.count != 0 => self.random_elements(key, found, wanted)?,
            _ => Strings::default(),
        };
        let nests = values && reply.protocol() == Protocol::Resp3;
        reply.array(if nests { drawn.len() / 2 } else { drawn.len() });
        for (i, string) in drawn.iter().enumerate() {
            if nests && i.is_multiple_of(2) {
                reply.array(2);
            }
            reply.bulk(string);
        }
        Ok(())
    }
}
