//! The same oracle, with a server that kills itself at a named step: at the n-th pass of one step in each round, all
//! steps in turn. Which pass that is grows with each death there and shrinks with each round that does not get so far.

use std::time::{Duration, Instant};

use super::survivors::Order;
use super::{KillPlan, KillReport, State, connect_all};
use crate::rng::Rng;
use crate::value::escape;
use crate::{Error, Result, Server, ServerSpec, TempDir};

/// How long a round waits for the server to die.
const PATIENCE: Duration = Duration::from_millis(600);
/// How long an orderly end may take.
const END: Duration = Duration::from_secs(60);
/// After so many rounds with one data set the next one is begun: reading all of it takes the longest.
const ROUNDS_OF_A_SET: u64 = 20;
const POLL: Duration = Duration::from_millis(1);
/// Passes are counted up to two to this.
const MOST_REACH: u32 = 12;
/// A step that only a new data set passes.
const AT_CREATION: &str = "manifest-anew";
/// Steps that are passed when there is little memory.
const OF_LITTLE_MEMORY: [&str; 3] = ["segment-unloaded", "load-begin", "load-done"];
/// What is little: less than the data of some rounds.
const LITTLE: [&str; 4] = ["--maxmemory", "16mb", "--maxmemory-policy", "spill"];
/// A step for slow and failing disks, that all syncs pass.
const NOT_AIMED_AT: &str = "disk-sync";

/// How a named step fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// In how many rounds the server was to die there.
    pub aimed: u64,
    /// In how many of them it did.
    pub died: u64,
    /// The next pass to die at is one of the first two to this.
    reach: u32,
}

impl StepReport {
    pub(super) fn new(name: String) -> Self {
        Self { name, aimed: 0, died: 0, reach: 0 }
    }

    /// A server that dies there.
    pub(super) fn arm(&mut self, spec: &ServerSpec, rng: &mut Rng) -> ServerSpec {
        self.aimed += 1;
        let pass = 1 + rng.below(1 << self.reach);
        spec.clone().failpoints(format!("{}=abort@{pass}", self.name))
    }

    /// Whether the server, which is dead, has died there.
    pub(super) fn has_struck(&self, server: &Server) -> bool {
        server.log_text().contains(&format!("failpoint {}: dying", self.name))
    }

    /// The next pass to die at is further out after a death, and nearer after none.
    pub(super) fn learn(&mut self, died: bool) {
        self.died += u64::from(died);
        self.reach = if died { (self.reach + 1).min(MOST_REACH) } else { self.reach.saturating_sub(2) };
    }
}

/// Runs the plan to its end, or to the first round with findings.
///
/// # Errors
/// When the harness can't go on: above all when the server does not start again.
pub fn run_at_failpoints(plan: &KillPlan) -> Result<KillReport> {
    let names = plan.spec.failpoint_names()?;
    let is_meant = |name: &String| name != NOT_AIMED_AT && (plan.steps.is_empty() || plan.steps.contains(name));
    let mut steps: Vec<_> = names.into_iter().filter(is_meant).map(StepReport::new).collect();
    if steps.is_empty() {
        return Err(Error::Missing("the server knows no steps".into()));
    }
    let mut state = State::new(plan);
    let root = Rng::new(plan.seed);
    // all steps in turn; which are first is up to the seed, as a short run may not come round
    let first = Rng::new(plan.seed).index(steps.len());
    for set in 0..plan.rounds.div_ceil(ROUNDS_OF_A_SET) {
        let dir = plan.spec.dir().join(format!("set-{set}"));
        let plan = KillPlan { spec: plan.spec.clone().dir_of(&dir), ..plan.clone() };
        let report = std::mem::take(&mut state.report);
        state = State { report, ..State::new(&plan) };
        let mut server = Server::start(&plan.spec.cores_in_turn(&plan.cores, 0))?;
        let order = plan.order(&server)?;
        server.kill9()?;
        let done = set * ROUNDS_OF_A_SET;
        for round in 0..ROUNDS_OF_A_SET.min(plan.rounds - done) {
            let mut rng = root.fork(done + round + 1);
            let at = (first + usize::try_from(done + round).unwrap_or(0)) % steps.len();
            state.round_at(&plan, &mut steps[at], round, order, &mut rng)?;
            state.report.rounds += 1;
            if !state.report.is_clean() {
                state.report.violations.push(format!("round {}: it was to die at {}", done + round, steps[at].name));
                state.report.steps = steps;
                return Ok(state.report);
            }
        }
        let io = |source| Error::Io { what: format!("removing {}", dir.display()), source };
        std::fs::remove_dir_all(&dir).map_err(io)?;
    }
    state.report.steps = steps;
    Ok(state.report)
}

impl State {
    fn round_at(
        &mut self,
        plan: &KillPlan,
        step: &mut StepReport,
        round: u64,
        order: Order,
        rng: &mut Rng,
    ) -> Result<()> {
        if step.name == AT_CREATION {
            return die_at_creation(plan, step, rng, &mut self.report);
        }
        let spec = plan.spec.cores_in_turn(&plan.cores, round);
        let is_little = OF_LITTLE_MEMORY.contains(&step.name.as_str());
        let spec = if is_little { spec.args(LITTLE) } else { spec };
        let armed = step.arm(&spec, rng);
        let mut server = Server::spawn(&armed)?;
        let mut has_died = false;
        let clients = server.wait_ready().and_then(|()| connect_all(plan, &server));
        let clients = match clients {
            Ok(clients) => clients,
            Err(error) => {
                server.kill9()?;
                if !step.has_struck(&server) {
                    return Err(error);
                }
                // a start that died: the next one has what it has left
                (has_died, self.report.starts_killed) = (true, self.report.starts_killed + 1);
                server = Server::start(&spec)?;
                connect_all(plan, &server)?
            }
        };
        let ends_in_order = step.name.starts_with("close");
        let wait = if has_died { PATIENCE / 4 } else { PATIENCE };
        let journals = self.write_meanwhile(clients, round, rng, || until_dead(&mut server, wait, ends_in_order))?;
        let died_ms = super::unix_ms();
        step.learn(has_died || step.has_struck(&server));
        let began = Instant::now();
        let mut server = Server::start(&plan.spec.cores_in_turn(&plan.cores, round + 1))?;
        self.report.longest_restart = self.report.longest_restart.max(began.elapsed());
        self.check(&mut server.connect()?, round, journals, died_ms, order)?;
        server.kill9()
    }
}

/// Waits until the server has killed itself, and kills it when it does not.
pub(super) fn until_dead(server: &mut Server, patience: Duration, ends_in_order: bool) -> Result<()> {
    let deadline = Instant::now() + if ends_in_order { patience / 2 } else { patience };
    while Instant::now() < deadline {
        if server.exited()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    if ends_in_order { server.terminate(END).map(|_| ()) } else { server.kill9() }
}

/// A data set whose making was broken off is made by the next start, or is there and empty.
fn die_at_creation(plan: &KillPlan, step: &mut StepReport, rng: &mut Rng, report: &mut KillReport) -> Result<()> {
    let dir = TempDir::new("creation")?;
    let spec = plan.spec.clone().dir_of(dir.path());
    let pass = 1 + rng.below(2);
    let mut server = Server::spawn(&spec.clone().failpoints(format!("{}=abort@{pass}", step.name)))?;
    let died = server.wait_ready().is_err();
    server.kill9()?;
    let died = died && step.has_struck(&server);
    let mut server = Server::start(&spec)?;
    let mut client = server.connect()?;
    let keys = client.ask("DBSIZE")?;
    let set = client.ask("SET key value")?;
    server.kill9()?;
    let server = Server::start(&spec)?;
    let found = server.connect()?.ask("GET key")?;
    if keys != crate::Value::Integer(0) || !set.is_ok() || found.text() != Some(b"value") {
        report.violations.push(format!(
            "a data set whose making died at {}: DBSIZE {keys:?}, SET {set:?}, and after a kill GET {}",
            step.name,
            escape(found.text().unwrap_or_default())
        ));
    }
    step.aimed += 1;
    step.learn(died);
    Ok(())
}
