//! What `maxmemory` allows, and what follows from that.

/// What a new data set's segments have, if nobody says otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Smaller ones are not chosen: each has its file, and its entry in the manifest.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;

/// So many segments of each partition fit into `maxmemory`, at least: memory is given back a segment at a time, and a log needs some
/// beside those that hold its data (its head, the next one, one that is being emptied).
const SEGMENTS_IN_MEMORY: u64 = 32;

/// The segment size of a data set that is created now, with so many partitions; `asked` is what the configuration says.
pub(crate) fn new_segment_size(asked: u64, maxmemory: u64, partitions: u16) -> u64 {
    if asked != 0 {
        return asked;
    }
    if maxmemory == 0 {
        return SEGMENT_BYTES;
    }
    let fits = maxmemory / u64::from(partitions.max(1)) / SEGMENTS_IN_MEMORY;
    let power_of_two = fits.checked_ilog2().map_or(0, |bits| 1 << bits);
    power_of_two.clamp(MIN_SEGMENT_BYTES, SEGMENT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_small_where_maxmemory_is() {
        let size = new_segment_size;
        const MIB: u64 = 1 << 20;
        assert_eq!(size(0, 0, 8), 64 * MIB);
        assert_eq!(size(0, 64 << 30, 8), 64 * MIB);
        assert_eq!(size(0, 4 << 30, 8), 16 * MIB);
        assert_eq!(size(0, 100 << 20, 1), 2 * MIB);
        assert_eq!(size(0, 100 << 20, 2), MIB);
        assert_eq!(size(0, 1, 1), MIB);
        assert_eq!(size(4 * MIB, 100 << 20, 1), 4 * MIB, "what was asked for counts");
    }
}
