//! SORT over several partitions: it reads keys that only its elements name, so it has all partitions to itself, and goes on in as many stages as
//! there is something else that it has to know.
//!
//! ```text
//!  SORT l BY w_* GET v_*, l in A
//!
//!             A                 B                 C
//!  first      what l holds                                         with the locks
//!  second     w_2 ?             w_1 ? w_3 ?                        then they are in order
//!  third      v_3 ?                               v_1 ? v_2 ?
//! ```

use emberkv_log::DbId;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{OwnedArgs, Reply};

use super::plan::{Extent, split};
use super::share::{Answer, Step};
use super::staged::{Placed, Steps, held, store, values};
use crate::collections::ListFill;
use crate::commands::{Known, Sort, SortNext, Sorting, answer_sorted, list_of};
use crate::group::Request;
use crate::stop::Stop;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sorted {
    id: CommandId,
    args: OwnedArgs,
    db: DbId,
    to: Option<Placed>,
    partitions: u16,
    fill: ListFill,
    stage: Stage,
}

/// What the owners were asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    Elements,
    /// `order` says for each key in turn whose share has it.
    Known {
        sorting: Sorting,
        order: Vec<u16>,
    },
}

impl Sorted {
    /// Begins one.
    ///
    /// # Errors
    /// The answer, if its arguments are wrong.
    pub fn new(request: Request<'_>, extent: Extent) -> Result<(Self, Steps), Stop> {
        let Request { id, db, args, .. } = request;
        let partitions = extent.partitions;
        let to = Sort::parse(id, args, true)?.to.map(|to| Placed::new(db, to, partitions));
        let from = Placed::new(db, args.at(1), partitions);
        let sorted = Self { id, args: args.into(), db, to, partitions, fill: extent.list_fill, stage: Stage::Elements };
        Ok((sorted, vec![(from.partition, Step::Fetch { db, key: from.key })]))
    }

    /// Goes on with what the owners have answered.
    ///
    /// # Errors
    /// The answer, if it ends with one.
    pub fn go_on(self, answers: Vec<Answer>, reply: &mut Reply<'_>) -> Result<(Option<Self>, Steps), Stop> {
        let Self { id, args, db, to, partitions, fill, stage } = self;
        let next = match stage {
            Stage::Elements => {
                let held = answers.into_iter().next().and_then(held);
                Sorting::begin(id, args.clone(), held.as_ref())?
            }
            Stage::Known { sorting, order } => {
                let shares = values(answers);
                let mut shares: Vec<_> = shares.iter().map(|share| share.iter()).collect();
                let known = |share: &u16| shares[usize::from(*share)].next().flatten().map(<[u8]>::to_vec);
                let known: Known = order.iter().map(known).collect();
                sorting.go_on(known)?
            }
        };
        match next {
            SortNext::Wants(sorting, wanted) => {
                let keys: Vec<&[u8]> = wanted.keys.iter().collect();
                let keys = OwnedArgs::from_words(&keys);
                let (shares, order) = split(keys.args(), 1, partitions);
                let look = |(partition, keys)| (partition, Step::Look { db, keys, field: wanted.field.clone() });
                let steps = shares.into_iter().map(look).collect();
                let stage = Stage::Known { sorting, order };
                Ok((Some(Self { id, args, db, to, partitions, fill, stage }), steps))
            }
            SortNext::Done(values) => match to {
                Some(to) => Ok((None, store(to, list_of(&values, fill), reply))),
                None => {
                    answer_sorted(&values, reply);
                    Ok((None, Steps::new()))
                }
            },
        }
    }
}
