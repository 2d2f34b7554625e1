//! What a server counts about itself.

/// Since the start, or since CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerStats {
    pub connections: u64,
    pub rejected_connections: u64,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Buffers received, and handed to the driver to be sent.
    pub reads: u64,
    pub writes: u64,
    pub query_buffer_disconnections: u64,
    pub output_buffer_disconnections: u64,
    pub turns: u64,
    /// Denials: of commands, keys, channels, and to come in.
    pub denied: [u64; 4],
    /// Commands over several partitions.
    pub transactions: u64,
    /// Requests that were sent to other cores.
    pub hops: u64,
    /// The parcels that they went in.
    pub parcels: u64,
    /// Requests of other cores' connections that were executed here.
    pub visits: u64,
    /// Keys of other cores that were read without a message.
    pub direct_reads: u64,
    /// Those of them that have found their key, and those that have not, as far as these count.
    pub direct_hits: u64,
    pub direct_misses: u64,
    /// Sleeping cores that were woken for a message.
    pub wakes: u64,
    /// The most messages that one turn has found.
    pub longest_inbox: usize,
    rate: Rate,
}

/// Commands and bytes per second, over the last 16 looks, as redis has it.
#[derive(Clone, Debug, Default)]
struct Rate {
    last: Sample,
    samples: [Sample; 16],
    next: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ms: u64,
    commands: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Per second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub commands: u64,
    pub kib_in: f64,
    pub kib_out: f64,
}

impl ServerStats {
    /// To be called every 100 ms.
    pub fn sample(&mut self, now_ms: u64) {
        let now = Sample { at_ms: now_ms, commands: self.commands, bytes_in: self.bytes_in, bytes_out: self.bytes_out };
        let last = std::mem::replace(&mut self.rate.last, now);
        if last.at_ms == 0 || now_ms <= last.at_ms {
            return;
        }
        let per_second = |new: u64, old: u64| new.saturating_sub(old) * 1000 / (now_ms - last.at_ms);
        self.rate.samples[self.rate.next] = Sample {
            at_ms: 0,
            commands: per_second(now.commands, last.commands),
            bytes_in: per_second(now.bytes_in, last.bytes_in),
            bytes_out: per_second(now.bytes_out, last.bytes_out),
        };
        self.rate.next = (self.rate.next + 1) % self.rate.samples.len();
    }

    /// The average of the last samples.
    pub fn rates(&self) -> Rates {
        let n = self.rate.samples.len() as u64;
        let sum = |of: fn(&Sample) -> u64| self.rate.samples.iter().map(of).sum::<u64>() / n;
        Rates {
            commands: sum(|sample| sample.commands),
            kib_in: sum(|sample| sample.bytes_in) as f64 / 1024.0,
            kib_out: sum(|sample| sample.bytes_out) as f64 / 1024.0,
        }
    }
}
