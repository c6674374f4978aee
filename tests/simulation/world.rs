//! A world: agents, the network, the coordinator and analysts under one virtual clock, all from one seed.
//!
//! Whatever happens is an event with its time; the next one is taken until there is nothing left to do. Time is in
//! virtual milliseconds; each side's wall clock may jump against it.
//!
//! ```text
//! faults and safety ──▶ heal: no new faults, everything up again ──▶ liveness: all arrives within HEAL_MS_MAX
//! ```

mod absence;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use agent::spool::disk::Disk;
use coordinator::store::engine::{Engine, Fault};
use shared::{
    ids::Lane,
    session::{ProtocolError, Stream, Transmit},
    wire::Frame,
};

pub(crate) use self::absence::run_absence;
use crate::{
    agent_side::{AgentSide, Pumped},
    checks::{self, Checks},
    coordinator_side::{CoordinatorSide, Peer},
    network::{ConnectionId, End, Network, Weather},
    random::Random,
};

/// Wall clocks begin here: a day in November 2023, in milliseconds since the Unix epoch.
const WALL_MS: u64 = 1_700_000_000_000;
/// Most steps of the phase with faults.
const FAULT_STEPS_MAX: u64 = 4_000;
/// Longest that a healed world may take until everything arrived, in virtual milliseconds: a silent connection is
/// given up after 30 s, a dial waits for at most 30 s, and a backlog takes some rounds of both.
const HEAL_MS_MAX: u64 = 10 * 60_000;
/// Most steps until everything arrived.
const HEAL_STEPS_MAX: u64 = 60_000;

/// Faults that a world can have; each world has some of them.
pub(crate) const FAULTS: [&str; 11] = [
    "connection lost",
    "agent crashes",
    "coordinator crashes",
    "commit fails",
    "coordinator's disk is full",
    "agent's disk is full",
    "agent's disk fails",
    "agent's clock jumps",
    "coordinator's clock jumps",
    "agent is cut off",
    "host changes",
];

#[derive(Clone, Copy, Debug)]
enum Event {
    Deliver(ConnectionId, End, Stream),
    /// An end learns that its connection is lost.
    Lost(ConnectionId, End),
    Dial(usize),
    AgentTimer(usize),
    SessionTimer(ConnectionId),
    Write(usize),
    Work(usize),
    StartAgent(usize),
    StartCoordinator,
    Commit(u64),
    Answer(u64),
    Analyst,
    Upkeep,
    Fault,
    FreeAgentDisk(usize),
    FreeCoordinatorDisk,
}

/// What became of a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    /// How long the world lasted, in virtual milliseconds.
    pub(crate) virtual_ms: u64,
    /// How often each fault was injected.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Blocks that reached the store again.
    pub(crate) repeats: u64,
    /// Bytes in the coordinator's store at the end.
    pub(crate) stored_bytes: u64,
}

pub(crate) struct World {
    is_verbose: bool,
    random: Random,
    start: Instant,
    now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    network: Network,
    agents: Vec<AgentSide>,
    /// Until when each agent reaches nobody, in virtual milliseconds.
    cut_off_until: Vec<u64>,
    coordinator: CoordinatorSide,
    checks: Checks,
    /// Numbers of the faults that this world has.
    faults: Vec<usize>,
    fault_interval_ms: u64,
    /// By how much agents take their time between writes and reads: 1 is their usual pace.
    pace: u64,
    /// How often agents dialled in vain.
    dials: u64,
    is_healed: bool,
    outcome: Outcome,
}

/// Lives one world to its end.
///
/// # Panics
/// If a law is broken.
pub(crate) fn run(seed: u64, is_verbose: bool) -> Outcome {
    let mut world = World::new(seed, is_verbose);
    world.run_with_faults();
    world.heal();
    world.run_until_all_arrived(HEAL_MS_MAX, HEAL_STEPS_MAX);
    world.outcome
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "some instant to count virtual time from")]
    fn new(seed: u64, is_verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let weather = Weather {
            delay_ms_max: random.between(2, 200),
            stall_one_in: random.between(3, 60),
            stall_ms_max: random.between(1_000, 20_000),
            dial_fails_one_in: random.between(2, 10),
        };
        let agent_count = usize::try_from(random.between(1, 2)).expect("it is small");
        let agents: Vec<_> = (0..agent_count).map(|i| AgentSide::new(i, &mut random)).collect();
        let faults = (0..FAULTS.len()).filter(|_| !random.one_in(3)).collect();
        let coordinator = CoordinatorSide::new(&mut random);
        let mut world = Self {
            is_verbose,
            start: Instant::now(),
            now_ms: 0,
            events: BTreeMap::new(),
            event_count: 0,
            network: Network::new(weather),
            cut_off_until: vec![0; agents.len()],
            agents,
            coordinator,
            checks: Checks::default(),
            faults,
            fault_interval_ms: random.between(200, 8_000),
            pace: 1,
            dials: 0,
            is_healed: false,
            outcome: Outcome::default(),
            random,
        };
        for index in 0..agent_count {
            world.after(1, Event::StartAgent(index));
            world.after(2, Event::Write(index));
            world.after(3, Event::Work(index));
        }
        for event in [Event::StartCoordinator, Event::Analyst, Event::Upkeep, Event::Fault] {
            world.after(1, event);
        }
        world
    }

    fn run_with_faults(&mut self) {
        let end_ms = self.random.between(20_000, 400_000);
        while self.now_ms < end_ms && self.outcome.steps < FAULT_STEPS_MAX {
            self.step();
        }
    }

    fn run_until(&mut self, end_ms: u64) {
        while self.now_ms < end_ms {
            self.step();
        }
    }

    /// Ends all faults, and brings everything up that is down.
    fn heal(&mut self) {
        self.say("healed");
        self.is_healed = true;
        self.network.weather = Weather::FAIR;
        self.cut_off_until.fill(0);
        self.coordinator.engine.set_disk_full(false);
        self.after(1, Event::StartCoordinator);
        for index in 0..self.agents.len() {
            self.agents[index].heal_disk();
            self.agents[index].is_last = true;
            self.agents[index].write_records(10, &mut self.random);
            self.after(1, Event::StartAgent(index));
        }
    }

    fn run_until_all_arrived(&mut self, ms_max: u64, steps_max: u64) {
        let (end_ms, end_step) = (self.now_ms + ms_max, self.outcome.steps + steps_max);
        while !self.agents.iter().all(AgentSide::is_done) {
            assert!(
                self.now_ms < end_ms && self.outcome.steps < end_step,
                "liveness: not all arrived: {:?}",
                self.agents.iter().map(AgentSide::progress).collect::<Vec<_>>()
            );
            self.step();
        }
        let engine: &dyn Engine = &self.coordinator.engine;
        self.checks.journal(engine);
        self.checks.store(engine);
        for agent in &mut self.agents {
            checks::records_are_whole(agent, engine);
            checks::all_arrived(agent, engine);
            checks::ledger_is_whole(agent, engine);
            checks::policy_is_known(agent, engine);
            let spool = agent.spool.as_mut().expect("a healed agent runs");
            spool.collect().expect("a healed disk deletes");
            assert!(spool.usage().segments <= 2, "liveness: the spool is not drained");
        }
        self.outcome.virtual_ms = self.now_ms;
        self.outcome.stored_bytes = coordinator::store::engine::Space::ALL
            .iter()
            .map(|space| engine.approximate_bytes(*space))
            .sum();
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms + ms, event);
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((at_ms.max(self.now_ms), self.event_count), event);
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    fn say(&self, what: &str) {
        if self.is_verbose {
            eprintln!("{:>9} ms, step {:>5}: {what}", self.now_ms, self.outcome.steps);
        }
    }

    /// Takes the next event.
    fn step(&mut self) {
        let ((at_ms, _), event) = self.events.pop_first().expect("upkeep comes again and again");
        self.now_ms = at_ms;
        self.outcome.steps += 1;
        let wall = self.coordinator.wall(WALL_MS + self.now_ms);
        match event {
            Event::Deliver(id, to, stream) => self.deliver(id, to, stream),
            Event::Lost(id, End::Agent) => self.agent_lost(id),
            Event::Lost(id, End::Coordinator) => self.coordinator_lost(id),
            Event::Dial(index) => self.dial(index),
            Event::AgentTimer(index) => self.agent_timer(index),
            Event::SessionTimer(id) => self.session_timer(id),
            Event::Write(index) => self.write(index),
            Event::Work(index) => self.work(index),
            Event::StartAgent(index) => self.start_agent(index),
            Event::StartCoordinator => self.start_coordinator(),
            Event::Commit(boot) => self.commit(boot),
            Event::Answer(boot) => self.answer(boot),
            Event::Analyst => {
                let analyst = usize::try_from(self.random.below(4)).expect("it is small");
                self.coordinator.ask(analyst, &self.checks.cases, wall, &mut self.random);
                self.wake_writer();
                let wait = self.random.between(50, 3_000);
                self.after(wait, Event::Analyst);
            }
            Event::Upkeep => {
                self.coordinator.upkeep(wall);
                self.wake_writer();
                self.after(5_000, Event::Upkeep);
            }
            Event::Fault => self.fault(),
            Event::FreeAgentDisk(index) => self.agents[index].disk.set_capacity(None),
            Event::FreeCoordinatorDisk => self.coordinator.engine.set_disk_full(false),
        }
    }

    // The network.

    fn deliver(&mut self, id: ConnectionId, to: End, stream: Stream) {
        if to == End::Coordinator && self.coordinator.is_full() {
            // Flow control: what is not read waits in its stream.
            let wait = self.random.between(1, 20);
            return self.after(wait, Event::Deliver(id, to, stream));
        }
        let Some(frame) = self.network.receive(id, to, stream) else { return };
        match to {
            End::Coordinator => {
                let now = self.now();
                let taken = self.coordinator.take(id, stream, frame, now);
                taken.unwrap_or_else(|error| panic!("the agent broke the protocol: {error}"));
                self.pump_coordinator(id);
            }
            End::Agent => self.deliver_to_agent(id, stream, frame),
        }
    }

    fn deliver_to_agent(&mut self, id: ConnectionId, stream: Stream, frame: Frame) {
        let now = self.now();
        let Some(index) = self.agent_on(id) else { return };
        let session = self.agents[index].session.as_mut().expect("it has this connection");
        let taken = session.sender.handle_frame(stream, frame, now);
        taken.unwrap_or_else(|error| panic!("the coordinator broke the protocol: {error}"));
        self.pump_agent(index);
    }

    fn agent_on(&self, id: ConnectionId) -> Option<usize> {
        let is_it = |agent: &AgentSide| agent.session.as_ref().is_some_and(|s| s.connection == id);
        self.agents.iter().position(is_it)
    }

    fn send(&mut self, id: ConnectionId, to: End, transmits: Vec<Transmit>) {
        for Transmit { stream, frame } in transmits {
            let (now_ms, random) = (self.now_ms, &mut self.random);
            if let Some(at_ms) = self.network.send(id, (to, stream), &frame, now_ms, random) {
                self.at(at_ms, Event::Deliver(id, to, stream));
            }
        }
    }

    /// Loses a connection; each end learns of it sooner or later, `knows` at once.
    fn lose(&mut self, id: ConnectionId, knows: Option<End>) {
        let lingers = knows != Some(End::Coordinator) && !self.random.one_in(4);
        if self.network.lose(id, lingers) {
            for end in [End::Agent, End::Coordinator] {
                // A host that lingers has not heard of the loss.
                let is_late = lingers && end == End::Coordinator;
                let most = if is_late || self.random.one_in(4) { 60_000 } else { 200 };
                let wait = if knows == Some(end) { 0 } else { self.random.between(1, most) };
                self.after(wait, Event::Lost(id, end));
            }
        }
    }

    // The agents.

    fn agent_lost(&mut self, id: ConnectionId) {
        if let Some(index) = self.agent_on(id) {
            self.agents[index].session = None;
            self.agents[index].timer_ms = None;
            self.dial_later(index);
        }
    }

    fn dial_later(&mut self, index: usize) {
        let unit = f64::from(u16::try_from(self.random.below(1 << 16)).expect("below 2^16"));
        let wait = self.agents[index].backoff.next_wait(unit / f64::from(u16::MAX));
        let wait = u64::try_from(wait.as_millis()).expect("waits are short");
        self.after(wait, Event::Dial(index));
    }

    fn dial(&mut self, index: usize) {
        if self.agents[index].session.is_some() || self.agents[index].spool.is_none() {
            return;
        }
        let now = self.now();
        let fails = self.cut_off_until[index] > self.now_ms
            || self.random.one_in(self.network.weather.dial_fails_one_in);
        let id = self.network.connect(index);
        let AgentSide { tenant, id: agent, .. } = self.agents[index];
        let peer = Peer { index, tenant, agent };
        if fails || !self.coordinator.accept(id, peer, now) {
            self.network.lose(id, false);
            self.dials += 1;
            return self.dial_later(index);
        }
        self.agents[index].connected(id, now);
        self.arm_session(id);
        self.pump_agent(index);
    }

    fn pump_agent(&mut self, index: usize) {
        let (now, wall) = (self.now(), self.agents[index].wall(WALL_MS + self.now_ms));
        let agent = &mut self.agents[index];
        let Some(id) = agent.session.as_ref().map(|session| session.connection) else { return };
        let Pumped { transmits, acked, sent, ended } = agent.pump(now, wall);
        let stream = |lane: Lane| agent.stream(lane).expect("it runs");
        for (lane, up_to) in acked {
            self.checks.acked(&self.coordinator.engine, agent.tenant, stream(lane), up_to);
        }
        for (lane, seq, block) in sent {
            self.checks.sent(stream(lane), seq, block);
        }
        self.send(id, End::Agent.other(), transmits);
        if let Some(reason) = ended {
            self.say(&format!("agent {index} leaves {id:?}: {reason}"));
            return self.lose(id, Some(End::Agent));
        }
        let agent = &self.agents[index];
        let wake = agent.session.as_ref().and_then(|session| session.sender.poll_timeout());
        if let Some(at_ms) = wake.map(|(at, _)| ms_between(self.start, at))
            && agent.timer_ms.is_none_or(|timer_ms| at_ms < timer_ms)
        {
            self.agents[index].timer_ms = Some(at_ms);
            self.at(at_ms, Event::AgentTimer(index));
        }
    }

    fn agent_timer(&mut self, index: usize) {
        let now = self.now();
        let agent = &mut self.agents[index];
        if agent.timer_ms.is_none_or(|timer_ms| timer_ms > self.now_ms) {
            return;
        }
        agent.timer_ms = None;
        let Some(session) = &mut agent.session else { return };
        let id = session.connection;
        match session.sender.handle_timeout(now) {
            Ok(()) => self.pump_agent(index),
            Err(ProtocolError::Timeout(wake)) => {
                self.say(&format!("agent {index} gives {id:?} up: {wake:?}"));
                // It may have been lost long ago.
                self.lose(id, Some(End::Agent));
                self.agent_lost(id);
            }
            Err(error) => panic!("a timer breaks no protocol: {error}"),
        }
    }

    fn write(&mut self, index: usize) {
        if self.is_healed {
            return;
        }
        let count = self.random.between(1, 20);
        self.agents[index].write_records(count, &mut self.random);
        let wait = self.pace * self.random.between(500, 30_000);
        self.after(wait, Event::Write(index));
    }

    fn work(&mut self, index: usize) {
        let wall = self.agents[index].wall(WALL_MS + self.now_ms);
        let stored = self.agents[index].work(wall, &mut self.random);
        if stored {
            self.pump_agent(index);
        }
        let wait = self.pace * self.random.between(20, if stored { 200 } else { 1_000 });
        self.after(wait, Event::Work(index));
    }

    fn start_agent(&mut self, index: usize) {
        if self.agents[index].spool.is_some() {
            return;
        }
        let wall = self.agents[index].wall(WALL_MS + self.now_ms);
        if !self.agents[index].start(wall, &mut self.random) {
            return self.after(1_000, Event::StartAgent(index));
        }
        self.say(&format!("agent {index} starts"));
        checks::records_are_whole(&self.agents[index], &self.coordinator.engine);
        self.after(1, Event::Dial(index));
    }

    fn crash_agent(&mut self, index: usize) {
        let power = !self.random.one_in(3);
        if let Some(id) = self.agents[index].crash(power) {
            self.lose(id, Some(End::Agent));
        }
        let wait = self.random.between(10, 20_000);
        self.after(wait, Event::StartAgent(index));
    }

    // The coordinator.

    fn start_coordinator(&mut self) {
        if self.coordinator.process.is_none() {
            self.say("coordinator starts");
            self.coordinator.start();
        }
    }

    fn crash_coordinator(&mut self) {
        for id in self.coordinator.crash() {
            self.lose(id, Some(End::Coordinator));
        }
        self.checks.journal(&self.coordinator.engine);
        self.checks.store(&self.coordinator.engine);
        let wait = match self.random.below(6) {
            0 => self.random.between(20_000, 200_000),
            _ => self.random.between(10, 5_000),
        };
        let wait = if self.is_healed { 10 } else { wait };
        self.after(wait, Event::StartCoordinator);
    }

    fn coordinator_lost(&mut self, id: ConnectionId) {
        self.network.lose(id, false);
        if let Some(process) = &mut self.coordinator.process {
            process.sessions.remove(&id);
        }
    }

    fn pump_coordinator(&mut self, id: ConnectionId) {
        let (transmits, is_over) = self.coordinator.pump(id);
        self.send(id, End::Coordinator.other(), transmits);
        // Those that a newer connection replaces have something to say, too.
        for (other, _) in self.network.live().into_iter().filter(|(other, _)| *other < id) {
            let (transmits, _) = self.coordinator.pump(other);
            self.send(other, End::Coordinator.other(), transmits);
        }
        if is_over {
            let wait = self.random.between(1, 1_000);
            self.after(wait, Event::Lost(id, End::Coordinator));
        }
        self.arm_session(id);
        self.wake_writer();
    }

    fn arm_session(&mut self, id: ConnectionId) {
        let Some(process) = &mut self.coordinator.process else { return };
        let Some(session) = process.sessions.get_mut(&id) else { return };
        let Some((at, _)) = session.receiver.poll_timeout() else { return };
        let at_ms = ms_between(self.start, at);
        if session.timer_ms.is_none_or(|timer_ms| at_ms < timer_ms) {
            session.timer_ms = Some(at_ms);
            self.at(at_ms, Event::SessionTimer(id));
        }
    }

    fn session_timer(&mut self, id: ConnectionId) {
        let (now, now_ms) = (self.now(), self.now_ms);
        let Some(process) = &mut self.coordinator.process else { return };
        let Some(session) = process.sessions.get_mut(&id) else { return };
        if session.timer_ms.is_none_or(|timer_ms| timer_ms > now_ms) {
            return;
        }
        session.timer_ms = None;
        if let Err(error) = session.receiver.handle_timeout(now) {
            self.say(&format!("coordinator gives {id:?} up: {error}"));
            self.lose(id, Some(End::Coordinator));
            return self.coordinator_lost(id);
        }
        self.arm_session(id);
    }

    fn wake_writer(&mut self) {
        let boot = self.coordinator.boot;
        if self.coordinator.has_work() {
            self.after(1, Event::Commit(boot));
        }
    }

    fn commit(&mut self, boot: u64) {
        let wall = self.coordinator.wall(WALL_MS + self.now_ms);
        if boot == self.coordinator.boot && self.coordinator.commit_group(wall, &mut self.random) {
            let sync_ms = if self.random.one_in(12) { 3_000 } else { 20 };
            let wait = self.random.between(1, sync_ms);
            self.after(wait, Event::Answer(boot));
        }
    }

    fn answer(&mut self, boot: u64) {
        if boot != self.coordinator.boot {
            return;
        }
        let answered = self.coordinator.answer();
        self.checks.journal(&self.coordinator.engine);
        if let Some(process) = &self.coordinator.process
            && self.random.one_in(8)
        {
            let wall = self.coordinator.wall(WALL_MS + self.now_ms);
            checks::view_is_fresh(&process.view, &self.coordinator.engine, wall);
        }
        self.outcome.repeats += answered.repeats;
        if answered.is_stopped {
            self.say("coordinator starts anew: its store takes nothing");
            return self.crash_coordinator();
        }
        for (id, reason) in answered.ended {
            self.say(&format!("coordinator ends {id:?}: {reason}"));
            self.lose(id, Some(End::Coordinator));
            self.coordinator_lost(id);
        }
        for id in answered.touched {
            self.pump_coordinator(id);
        }
        self.wake_writer();
    }

    // The faults.

    fn fault(&mut self) {
        if self.is_healed {
            return;
        }
        let wait = self.random.between(1, 2 * self.fault_interval_ms);
        self.after(wait, Event::Fault);
        let Some(fault) = self.random.pick(&self.faults).map(|number| FAULTS[*number]) else {
            return;
        };
        let index = usize::try_from(self.random.below(self.agents.len() as u64)).unwrap_or(0);
        self.say(&format!("{fault} (agent {index})"));
        match fault {
            "connection lost" => {
                let Some((id, _)) = self.random.pick(&self.network.live()).copied() else { return };
                self.lose(id, None);
            }
            "agent crashes" if self.agents[index].spool.is_some() => self.crash_agent(index),
            "coordinator crashes" if self.coordinator.process.is_some() => self.crash_coordinator(),
            "commit fails" => {
                let ways = [Fault::Refused, Fault::UnknownApplied, Fault::UnknownLost, Fault::Torn];
                let way = self.random.pick(&ways).copied().unwrap_or(Fault::Refused);
                self.coordinator.plan_fault(way);
            }
            "coordinator's disk is full" => {
                self.coordinator.engine.set_disk_full(true);
                let wait = self.random.between(10, 30_000);
                self.after(wait, Event::FreeCoordinatorDisk);
            }
            "agent's disk is full" => self.fill_disk(index),
            "agent's disk fails" => self.fail_disk(index),
            "agent's clock jumps" => self.agents[index].wall_ahead_ms = self.jump(),
            "coordinator's clock jumps" => self.coordinator.wall_ahead_ms = self.jump(),
            "agent is cut off" => {
                let wait = self.random.between(100, 120_000);
                self.cut_off_until[index] = self.now_ms + wait;
                for (id, _) in self.network.live().into_iter().filter(|(_, of)| *of == index) {
                    self.lose(id, None);
                }
            }
            "host changes" => {
                self.agents[index].change_context(&mut self.random);
                self.pump_agent(index);
            }
            _ => return,
        }
        *self.outcome.faults.entry(fault).or_default() += 1;
    }

    fn fill_disk(&mut self, index: usize) {
        let files = self.agents[index].disk.list().expect("listing does not fail");
        let used: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let room = self.random.below(1_000);
        self.agents[index].disk.set_capacity(Some(used + room));
        let wait = self.random.between(100, 60_000);
        self.after(wait, Event::FreeAgentDisk(index));
    }

    fn fail_disk(&mut self, index: usize) {
        let disk = self.agents[index].disk.clone();
        let count = u32::try_from(self.random.between(1, 3)).expect("it is small");
        match self.random.below(6) {
            0 => disk.fail_syncs(count),
            1 => {
                disk.fail_syncs(count);
                disk.fail_truncates(count);
                // The doubtful bytes meet a loss of power before they are written again.
                if self.random.one_in(2) && self.agents[index].spool.is_some() {
                    let wall = self.agents[index].wall(WALL_MS + self.now_ms);
                    self.agents[index].work(wall, &mut self.random);
                    self.crash_agent(index);
                }
            }
            2 => disk.fail_dir_syncs(count),
            3 => disk.fail_truncates(count),
            4 => disk.fail_deletes(count),
            _ => disk.fail_reads(count),
        }
    }

    /// Returns how far a clock is off after a jump: seconds, hours, or two days, ahead or behind.
    fn jump(&mut self) -> i64 {
        let most = [5_000, 7_200_000, 172_800_000];
        let most = self.random.pick(&most).copied().unwrap_or(0);
        let ahead = i64::try_from(self.random.below(most)).expect("jumps are short");
        if self.random.one_in(2) { -ahead } else { ahead }
    }
}

fn ms_between(start: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(start).as_millis()).expect("worlds are short")
}
