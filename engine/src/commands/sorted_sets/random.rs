//! ZRANDMEMBER.

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use super::Shape;
use crate::collections::score_in;
use crate::commands::hashes::Drawing;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn zrandmember(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let Some(count) = args.get(2) else {
            let (key, found) = self.read_sorted(request, 1)?;
            let drawing = Drawing { count: 1, repeats: true, values: false };
            let drawn = found.map(|found| self.random_fields(key, found, drawing)).transpose()?.unwrap_or_default();
            if drawn.is_empty() {
                reply.null()
            } else {
                reply.bulk(drawn.at(0))
            }
            return Ok(());
        };
        let drawing = Drawing::parse(count, args, b"withscores")?;
        let (key, found) = self.read_sorted(request, 1)?;
        let drawn = match found {
            Some(found) if drawing.count != 0 => self.random_fields(key, found, drawing)?,
            _ => Strings::default(),
        };
        let shape = Shape::of(drawing.values, reply);
        let step = if drawing.values { 2 } else { 1 };
        shape.begin(drawn.len() / step, reply);
        for i in (0..drawn.len()).step_by(step) {
            let score = if drawing.values { score_in(drawn.at(i + 1)) } else { 0.0 };
            shape.show(drawn.at(i), score, reply);
        }
        Ok(())
    }
}
