//! SORT, SORT_RO. What they read of other keys is named by elements of the first one, so the work goes in steps, each of which says what it has
//! to know next; whether that is in this partition or in others is not its concern.
//!
//! ```text
//!  elements of the key  ->  weights (BY)  ->  order, LIMIT  ->  values (GET)  ->  reply, or list
//! ```

mod command;
mod options;
mod order;

use emberkv_log::Value;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{OwnedArgs, Reply};
pub(crate) use options::Sort;
pub use options::sort_refusal;
use options::{By, Pattern};

use crate::collections::{Head, ListFill, Type, WRONG_TYPE, Whole, push_element};
use crate::dump::{LISTPACK_ENDS, listpack_len};
use crate::held::Held;
use crate::stop::Stop;
use crate::transact::Strings;

/// What has to be known next: of each element in turn what its key holds, if that is a string; or what a field of it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub keys: Strings,
    pub field: Option<Box<[u8]>>,
}

/// What is there, in the order of the keys.
pub(crate) type Known = Vec<Option<Vec<u8>>>;

/// Where the work is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Weights are to come.
    Weighing,
    /// The elements are in order, as far as they are asked for. Values are to come, of those patterns that name keys.
    Getting { order: Vec<usize>, known: Vec<Known> },
}

/// A SORT that has its elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sorting {
    id: CommandId,
    args: OwnedArgs,
    elements: Strings,
    kind: Option<Type>,
    step: Step,
}

/// What is next.
pub(crate) enum Next {
    Wants(Sorting, Wanted),
    /// All is known: what is replied or stored.
    Done(Vec<Option<Vec<u8>>>),
}

impl Sorting {
    /// Begins with what the key holds.
    ///
    /// # Errors
    /// If it is nothing that can be sorted, or the arguments are wrong.
    pub fn begin(id: CommandId, args: OwnedArgs, held: Option<&Held>) -> Result<Next, Stop> {
        let (kind, elements) = elements_of(held)?;
        let sorting = Self { id, args, elements, kind, step: Step::Weighing };
        let wanted = match sorting.sort()?.by(kind) {
            By::Pattern(pattern) => pattern.wanted(sorting.elements.iter()),
            By::Nothing | By::Elements => None,
        };
        match wanted {
            Some(wanted) if !wanted.keys.is_empty() => Ok(Next::Wants(sorting, wanted)),
            _ => sorting.weighed(None),
        }
    }

    fn sort(&self) -> Result<Sort<'_>, Stop> {
        Sort::parse(self.id, self.args.args(), true)
    }

    /// Goes on with what there is.
    ///
    /// # Errors
    /// If it can't be sorted by that.
    pub fn go_on(mut self, found: Known) -> Result<Next, Stop> {
        match &mut self.step {
            Step::Weighing => self.weighed(Some(found)),
            Step::Getting { known, .. } => {
                known.push(found);
                self.get()
            }
        }
    }

    fn weighed(mut self, weights: Option<Known>) -> Result<Next, Stop> {
        let sort = self.sort()?;
        let elements: Vec<&[u8]> = self.elements.iter().collect();
        let order = order::arrange(&sort, self.kind, &elements, weights.as_deref())?;
        self.step = Step::Getting { order, known: Vec::new() };
        self.get()
    }

    /// The next pattern whose keys are not known, or the end.
    fn get(self) -> Result<Next, Stop> {
        let sort = self.sort()?;
        let Step::Getting { order, known } = &self.step else { return Ok(Next::Done(Vec::new())) };
        if order.is_empty() {
            return Ok(Next::Done(Vec::new()));
        }
        let ordered = || order.iter().map(|at| self.elements.at(*at));
        let mut asks = sort.gets.iter().filter_map(|pattern| pattern.wanted(ordered()));
        if let Some(wanted) = asks.nth(known.len()) {
            drop(asks);
            return Ok(Next::Wants(self, wanted));
        }
        if sort.gets.is_empty() {
            return Ok(Next::Done(ordered().map(|element| Some(element.to_vec())).collect()));
        }
        let mut columns = known.iter();
        let values = sort.gets.iter().map(|pattern| match pattern {
            Pattern::Element => None,
            Pattern::Nothing => Some(&[][..]),
            Pattern::Key { .. } => columns.next().map(Vec::as_slice),
        });
        let values: Vec<_> = values.collect();
        let mut all = Vec::with_capacity(order.len() * values.len());
        for (row, element) in ordered().enumerate() {
            all.extend(values.iter().map(|column| match column {
                None => Some(element.to_vec()),
                Some(column) => column.get(row).cloned().flatten(),
            }));
        }
        Ok(Next::Done(all))
    }
}

/// What there is to be sorted.
fn elements_of(held: Option<&Held>) -> Result<(Option<Type>, Strings), Stop> {
    let mut elements = Strings::default();
    let Some(held) = held else { return Ok((None, elements)) };
    let Value::Whole(image) = held.value() else { return Err(WRONG_TYPE) };
    let whole = Whole::read(image);
    match whole.head.kind {
        Type::List => whole.elements().for_each(|element| elements.push(element)),
        Type::Set | Type::ZSet => whole.pairs().for_each(|pair| elements.push(pair.field)),
        Type::Hash | Type::Stream => return Err(WRONG_TYPE),
    }
    Ok((Some(whole.head.kind), elements))
}

/// Replies what a SORT without a destination has come to.
pub(crate) fn answer(values: &[Option<Vec<u8>>], reply: &mut Reply<'_>) {
    reply.array(values.len());
    for value in values {
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
}

/// The list that is stored; none if it would be empty.
pub(crate) fn list_of(values: &[Option<Vec<u8>>], fill: ListFill) -> Option<Held> {
    let (mut bytes, mut listpack) = (Vec::new(), LISTPACK_ENDS);
    for value in values {
        let element = value.as_deref().unwrap_or_default();
        push_element(&mut bytes, element);
        listpack += listpack_len(element);
    }
    let count = values.len() as u64;
    let head = Head::new(Type::List, fill.encoding(listpack, count), count);
    (count > 0).then(|| Held::whole(Whole::write(head, &bytes), None))
}
