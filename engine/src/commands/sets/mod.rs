//! Sets: elements, each of them once.

mod combine;
mod pop;
mod read;
mod several;
mod write;

pub(crate) use combine::Combination;
pub(crate) use several::SETS;
