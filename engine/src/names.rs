//! Which keys a request names, each in its database.

use emberkv_log::DbId;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_resp::schema::{CommandId, InvalidKeys};

use crate::commands::{CopyOptions, parse_db};
use crate::group::Request;

/// As many databases as a record can name.
const ALL: usize = 256;

/// The keys that a request names. Nearly always they are of the connection's database; COPY and MOVE have a second one.
///
/// # Errors
/// If the arguments contradict themselves: then the command will say so, and touch nothing.
pub fn names<'a>(request: Request<'a>) -> Result<impl Iterator<Item = (DbId, &'a [u8])> + use<'a>, InvalidKeys> {
    let Request { id, db, args, .. } = request;
    let keys = id.command().keys(args)?;
    // a database that there is not is an error of the command's own
    let (others, moved) = match id {
        CommandId::Copy => (CopyOptions::parse(args, db, ALL).map_or(db, |options| options.db), None),
        CommandId::Move => (db, parse_db(args.at(2), ALL).ok().map(|to| (to, args.at(1)))),
        _ => (db, None),
    };
    #[cfg(any(test, feature = "sim"))]
    let (others, moved) = if plant::is(Plant::X1Names) { (db, None) } else { (others, moved) };
    let name = move |(nth, i): (usize, usize)| (if nth == 0 { db } else { others }, args.at(i));
    Ok(keys.enumerate().map(name).chain(moved))
}
