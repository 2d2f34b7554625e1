//! Single cases over several partitions.
