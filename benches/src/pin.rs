//! Pinning to cpus, and children that do not outlive us.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::{BenchError, Context};

/// A set of cpus.
#[derive(Clone, Debug)]
pub struct Cpus {
    set: CpuSet,
    names: Vec<usize>,
}

impl Cpus {
    /// The set of these cpus, by number.
    ///
    /// # Errors
    /// [`BenchError::Parse`] for a number that is beyond what the kernel's interface can name.
    pub fn new(names: &[usize]) -> Result<Self, BenchError> {
        let mut set = CpuSet::new();
        for &cpu in names {
            if cpu >= CpuSet::MAX_CPU {
                return Err(BenchError::Parse { what: "a cpu number", text: cpu.to_string() });
            }
            set.set(cpu);
        }
        Ok(Self { set, names: names.to_vec() })
    }

    /// Pins the calling thread.
    ///
    /// # Errors
    /// [`BenchError::Io`] when none of the cpus exists or is allowed.
    pub fn pin_this_thread(&self) -> Result<(), BenchError> {
        sched_setaffinity(None, &self.set).context(|| format!("pinning to cpus {:?}", self.names))
    }

    /// Makes `command` run on these cpus, and die with the thread that spawns it, however that
    /// ends (the release profile aborts on panic, so no destructor can be relied on). A ctrl-c on
    /// the terminal does not reach it: what happens to it then is for us to decide.
    pub fn confine(&self, command: &mut Command) {
        command.process_group(0);
        let set = self.set;
        let child_side = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            sched_setaffinity(None, &set)?;
            Ok(())
        };
        // SAFETY: the closure runs in the forked child before exec, where only async-signal-safe
        // calls are allowed. It makes two plain system calls on a captured value: it neither
        // allocates nor takes a lock, and its error values are integers.
        unsafe {
            command.pre_exec(child_side);
        }
    }
}
