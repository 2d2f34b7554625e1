//! ZRANDMEMBER.

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use super::Shape;
use crate::collections::{Wanted, score_in};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn zrandmember(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let Some(count) = args.get(2) else {
            let (key, found) = self.read_sorted(request, 1)?;
            let wanted = Wanted { count: 1, repeats: true, values: false };
            let drawn = found.map(|found| self.random_elements(key, found, wanted)).transpose()?.unwrap_or_default();
            if drawn.is_empty() {
                reply.null()
            } else {
                reply.bulk(drawn.at(0))
            }
            return Ok(());
        };
        let wanted = Wanted::parse(count, args.get(3).is_some())?;
        if args.len() > 4 || args.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"withscores")) {
            return Err(Stop::SYNTAX);
        }
        let wanted = wanted.bounded()?;
        let (key, found) = self.read_sorted(request, 1)?;
        let drawn = match found {
            Some(found) if wanted.count != 0 => self.random_elements(key, found, wanted)?,
            _ => Strings::default(),
        };
        let shape = Shape::of(wanted.values, reply);
        let step = if wanted.values { 2 } else { 1 };
        shape.begin(drawn.len() / step, reply);
        for i in (0..drawn.len()).step_by(step) {
            let score = if wanted.values { score_in(drawn.at(i + 1)) } else { 0.0 };
            shape.show(drawn.at(i), score, reply);
        }
        Ok(())
    }
}
