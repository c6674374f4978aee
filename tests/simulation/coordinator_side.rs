//! The coordinator: sessions' receiving halves, one writer over the crashable engine, and the queue's view.
//!
//! The drivers do what ingest, the writer's thread and the journal's tail do, and no more: each event of a session
//! becomes a command; waiting commands run as one group with one commit; only then is anybody answered (L1).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use coordinator::{
    command::{
        CommandError,
        agents::{Greeting, greet, heartbeat, set_context},
        block::{Committed, Prepared, commit, record_gap},
        cases::{Caller, expire},
        journal::read_after,
        ledger::record,
        policies::{self, Push, Terms, acknowledge, offer, push},
    },
    store::{
        engine::{CommitError, Engine, Fault, Kept, MemoryEngine, Refusal, Staged},
        reader::policies::agents,
        schema::{AgentKey, CaseKey, range_of},
        tables::{LoadError, Source},
        values::Actor,
    },
    triage::{
        case::{Case, CaseId},
        queue::QueueView,
    },
};
use shared::{
    context::HostContext,
    ids::{AgentId, Epoch, Lane, Seq, StreamId, TenantId},
    ledger::Interval,
    policy::{PolicyAck, PolicyOffer},
    session::{ProtocolError, Receiver, ReceiverConfig, ReceiverEvent, Stream, Transmit},
    time::Timestamp,
    wire::{Frame, Gap, GoodbyeReason, Heartbeat, Hello},
};

use crate::{
    analysts::{Analyst, Wish, grant, team},
    network::ConnectionId,
    policies::{key, sign},
    random::Random,
};

/// Most commands that wait for the writer before streams are read no more.
pub(crate) const JOBS_MAX: usize = 24;
/// Most commands that share one commit.
const GROUP_MAX: u64 = 8;

/// Who is at the other end of a connection, as its certificate says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) index: usize,
    pub(crate) tenant: TenantId,
    pub(crate) agent: AgentId,
}

/// A session over one connection.
#[derive(Debug)]
pub(crate) struct Session {
    peer: Peer,
    epoch: Epoch,
    /// The version of the policy that it was offered last.
    tried: Option<u64>,
    pub(crate) receiver: Receiver,
    /// When its timer is set to go off, in virtual milliseconds.
    pub(crate) timer_ms: Option<u64>,
}

#[derive(Debug)]
enum Job {
    Greet(ConnectionId, Peer, Box<Hello>),
    Block(ConnectionId, StreamId, Seq, Box<Prepared>),
    Gap(ConnectionId, TenantId, StreamId, Gap),
    Heartbeat(ConnectionId, Peer, Heartbeat),
    Context(ConnectionId, Peer, Box<HostContext>),
    Ledger(ConnectionId, Peer, Epoch, Vec<Interval>),
    Person(usize, Wish),
    Expire(Vec<CaseId>),
    /// What an agent says of a policy, and the version that it was offered last.
    Policy(ConnectionId, Peer, PolicyAck, Option<u64>),
    /// Somebody brings the next version of a tenant's policy.
    Push(TenantId),
}

/// What a command answers once its group is durable.
#[derive(Debug)]
enum Reply {
    Greeted(ConnectionId, Greeting),
    /// A block or gap is durable; the last says whether it was before.
    Committed(ConnectionId, Lane, Seq, bool),
    /// The agent's ledger is durable up to here.
    Kept(ConnectionId, u64),
    Claimed(usize, Box<Case>),
    /// What the agent is to be offered.
    Offered(ConnectionId, Option<PolicyOffer>),
    /// The command failed, and its connection ends.
    Failed(ConnectionId, CommandError),
    Nothing(Option<ConnectionId>),
}

impl Reply {
    fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Greeted(id, _)
            | Self::Committed(id, ..)
            | Self::Kept(id, _)
            | Self::Offered(id, _)
            | Self::Failed(id, _) => Some(*id),
            Self::Nothing(id) => *id,
            Self::Claimed(..) => None,
        }
    }
}

/// A process of the coordinator: all that a crash loses.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) sessions: BTreeMap<ConnectionId, Session>,
    jobs: VecDeque<Job>,
    /// What is answered once the commit under way is done.
    answers: Option<(Vec<Reply>, Result<(), CommitError>)>,
    pub(crate) view: QueueView,
    /// Number of the last journal entry that the view knows of.
    tail: u64,
    /// What the newest group left decoded.
    kept: Kept,
}

#[derive(Debug)]
pub(crate) struct CoordinatorSide {
    pub(crate) engine: MemoryEngine,
    /// None while it is down.
    pub(crate) process: Option<Process>,
    /// Goes up with each start, so that events of an earlier process are told apart.
    pub(crate) boot: u64,
    pub(crate) wall_ahead_ms: i64,
    pub(crate) analysts: Vec<Analyst>,
    config: ReceiverConfig,
    /// Whether older connections of an agent are ended at once when it greets anew, or only once they are found lost.
    replaces: bool,
    /// Whether the engine will fail the next commit.
    is_fault_planned: bool,
}

/// What follows from an answered group.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Connections that end here.
    pub(crate) ended: Vec<(ConnectionId, String)>,
    /// Connections whose sessions have something to say.
    pub(crate) touched: Vec<ConnectionId>,
    /// Blocks that were stored before.
    pub(crate) repeats: u64,
    /// The engine takes nothing any more: the process must start anew.
    pub(crate) is_stopped: bool,
}

impl CoordinatorSide {
    pub(crate) fn new(random: &mut Random) -> Self {
        let window_blocks = u32::try_from(random.between(1, 6)).expect("it is small");
        let window_bytes = u32::try_from(random.between(200, 4000)).expect("it is small");
        Self {
            engine: MemoryEngine::new(random.next()),
            process: None,
            boot: 0,
            wall_ahead_ms: 0,
            analysts: team(),
            config: ReceiverConfig { window_blocks, window_bytes, ..ReceiverConfig::default() },
            replaces: random.one_in(2),
            is_fault_planned: false,
        }
    }

    /// Starts the process: the view is built from the store.
    pub(crate) fn start(&mut self) {
        self.boot += 1;
        let engine: &dyn Engine = &self.engine;
        let entries = read_after(engine, 0, usize::MAX).expect("the journal can be read");
        let tail = entries.last().map_or(0, |last| last.number);
        self.process = Some(Process {
            sessions: BTreeMap::new(),
            jobs: VecDeque::new(),
            answers: None,
            view: build_view(engine).expect("the store can be read"),
            tail,
            kept: Kept::default(),
        });
    }

    /// Ends the process at once; what the engine had not synced is lost or kept. Returns the connections it had.
    pub(crate) fn crash(&mut self) -> Vec<ConnectionId> {
        let process = self.process.take();
        self.engine.crash();
        process.map_or_else(Vec::new, |process| process.sessions.into_keys().collect())
    }

    pub(crate) fn wall(&self, wall_ms: u64) -> Timestamp {
        Timestamp::from_ms(wall_ms.saturating_add_signed(self.wall_ahead_ms))
    }

    /// Makes the next commit fail, unless it will already: faults that pile up while nobody commits would outlast the
    /// healing.
    pub(crate) fn plan_fault(&mut self, fault: Fault) {
        if !std::mem::replace(&mut self.is_fault_planned, true) {
            self.engine.fail_next_commit(fault);
        }
    }

    /// Returns whether so many commands wait that no stream is read.
    pub(crate) fn is_full(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.jobs.len() >= JOBS_MAX)
    }

    /// Returns whether commands wait, and no commit is under way.
    pub(crate) fn has_work(&self) -> bool {
        let is_free = |process: &Process| process.answers.is_none() && !process.jobs.is_empty();
        self.process.as_ref().is_some_and(is_free)
    }

    /// Takes a new connection; returns whether there is anybody to take it.
    pub(crate) fn accept(&mut self, id: ConnectionId, peer: Peer, now: Instant) -> bool {
        let Some(process) = &mut self.process else { return false };
        let receiver = Receiver::new(self.config, now);
        let (epoch, tried) = (Epoch(0), None);
        let session = Session { peer, epoch, tried, receiver, timer_ms: None };
        process.sessions.insert(id, session);
        true
    }

    /// Takes a frame of a session.
    pub(crate) fn take(
        &mut self,
        id: ConnectionId,
        stream: Stream,
        frame: Frame,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let session = self.process.as_mut().and_then(|process| process.sessions.get_mut(&id));
        session.map_or(Ok(()), |session| session.receiver.handle_frame(stream, frame, now))
    }

    /// Makes commands of all that a session says; returns what it sends, and whether it is over.
    pub(crate) fn pump(&mut self, id: ConnectionId) -> (Vec<Transmit>, bool) {
        let Some(process) = &mut self.process else { return (Vec::new(), false) };
        let Some(session) = process.sessions.get_mut(&id) else { return (Vec::new(), false) };
        let peer = session.peer;
        let mut is_over = false;
        let mut replaced = false;
        while let Some(event) = session.receiver.poll_event() {
            let stream = |lane| StreamId { agent: peer.agent, epoch: session.epoch, lane };
            process.jobs.push_back(match event {
                ReceiverEvent::Greeted(hello) => {
                    session.epoch = hello.epoch;
                    replaced = self.replaces;
                    Job::Greet(id, peer, Box::new(hello))
                }
                ReceiverEvent::Block { lane, seq, block } => {
                    let prepared = Prepared::new(peer.tenant, stream(lane), seq, block);
                    let prepared = Box::new(prepared.expect("L2: a sent block is whole"));
                    Job::Block(id, stream(lane), seq, prepared)
                }
                ReceiverEvent::Gap { lane, gap } => Job::Gap(id, peer.tenant, stream(lane), gap),
                ReceiverEvent::Context(context) => Job::Context(id, peer, context),
                ReceiverEvent::Heartbeat(heartbeat) => Job::Heartbeat(id, peer, heartbeat),
                ReceiverEvent::Ledger(intervals) => Job::Ledger(id, peer, session.epoch, intervals),
                ReceiverEvent::PolicyAck(ack) => Job::Policy(id, peer, ack, session.tried),
                ReceiverEvent::RecallOpened(_)
                | ReceiverEvent::RecallBlock { .. }
                | ReceiverEvent::RecallEnded(_)
                | ReceiverEvent::Renew(_)
                | ReceiverEvent::TrustAck(_)
                | ReceiverEvent::Alive
                | ReceiverEvent::SetBack(_) => continue,
                ReceiverEvent::Goodbye(_) => {
                    is_over = true;
                    continue;
                }
            });
        }
        let mut transmits = Vec::new();
        while let Some(transmit) = session.receiver.poll_transmit() {
            transmits.push(transmit);
        }
        if replaced {
            // The agent has connected anew: its older connections are told so.
            let older = process.sessions.iter_mut().filter(|(other, session)| {
                **other < id && session.peer.index == peer.index && !session.receiver.is_closed()
            });
            older.for_each(|(_, session)| session.receiver.handle_close(GoodbyeReason::Replaced));
        }
        assert!(process.jobs.len() <= JOBS_MAX + 3, "L7: the writer's queue is over its bound");
        let is_closed = process.sessions.get(&id).is_some_and(|s| s.receiver.is_closed());
        (transmits, is_over || is_closed)
    }

    /// An analyst asks for something, if there is room and somebody to ask.
    pub(crate) fn ask(
        &mut self,
        analyst: usize,
        known: &[CaseId],
        now: Timestamp,
        random: &mut Random,
    ) {
        let Some(process) = self.process.as_mut().filter(|p| p.jobs.len() < JOBS_MAX) else {
            return;
        };
        if let Some(wish) = self.analysts[analyst].wish(&process.view, known, now, random) {
            process.jobs.push_back(Job::Person(analyst, wish));
        }
    }

    /// Brings cases back whose lease has run out, and now and then a new policy.
    pub(crate) fn upkeep(&mut self, now: Timestamp) {
        let Some(process) = self.process.as_mut().filter(|p| p.jobs.len() < JOBS_MAX) else {
            return;
        };
        let expired = process.view.expired(now, 16);
        if !expired.is_empty() {
            process.jobs.push_back(Job::Expire(expired));
        }
        // One after the other, each every half minute.
        let tenant = match now.as_ms() / 5_000 % 6 {
            0 => "acme",
            3 => "globex",
            _ => return,
        };
        let tenant = tenant.parse().expect("it is a tenant's name");
        process.jobs.push_back(Job::Push(tenant));
    }

    /// Runs waiting commands as one group, with one commit; returns whether there were any.
    pub(crate) fn commit_group(&mut self, now: Timestamp, random: &mut Random) -> bool {
        let Some(process) = &mut self.process else { return false };
        if process.answers.is_some() || process.jobs.is_empty() {
            return false;
        }
        let count = usize::try_from(random.between(1, GROUP_MAX)).expect("it is small");
        let count = count.min(process.jobs.len());
        let mut staged = Staged::over(&self.engine, std::mem::take(&mut process.kept));
        let mut replies = Vec::with_capacity(count);
        for job in process.jobs.drain(..count) {
            let savepoint = staged.savepoint();
            let (connection, outcome) = run(&mut staged, job, &self.analysts, now);
            replies.push(match outcome {
                Ok(reply) => reply,
                Err(error) => {
                    staged.rollback(savepoint);
                    connection.map_or(Reply::Nothing(None), |id| Reply::Failed(id, error))
                }
            });
        }
        let committed;
        (process.kept, committed) = staged.commit();
        let is_planned = |error: &CommitError| {
            matches!(
                error,
                CommitError::Unknown { .. } | CommitError::Refused(Refusal::Rejected { .. })
            )
        };
        self.is_fault_planned &= !committed.as_ref().is_err_and(is_planned);
        process.answers = Some((replies, committed));
        true
    }

    /// Brings the view up to the journal, and answers the group whose commit is done (L1).
    pub(crate) fn answer(&mut self) -> Answered {
        let mut answered = Answered::default();
        let Some(process) = &mut self.process else { return answered };
        let Some((replies, committed)) = process.answers.take() else { return answered };
        follow(&self.engine, process).expect("the journal can be read");
        if let Err(error) = committed {
            answered.is_stopped = matches!(error, CommitError::Refused(Refusal::Stopped { .. }));
            let ends = replies.iter().filter_map(Reply::connection);
            answered.ended = ends.map(|id| (id, error.to_string())).collect();
            return answered;
        }
        for reply in replies {
            match reply {
                Reply::Failed(id, error) => answered.ended.push((id, error.to_string())),
                Reply::Claimed(analyst, case) => self.analysts[analyst].learn(&case),
                Reply::Nothing(_) => {}
                Reply::Offered(id, offer) => {
                    let session = process.sessions.get_mut(&id);
                    let session = session.filter(|it| it.receiver.can_offer_policy());
                    if let (Some(session), Some(offer)) = (session, offer) {
                        session.tried = Some(offer.version);
                        session.receiver.handle_policy(offer);
                        answered.touched.push(id);
                    }
                }
                Reply::Greeted(id, greeting) => {
                    if let Some(session) = process.sessions.get_mut(&id) {
                        let Greeting { committed, checks, context, ledger } = greeting;
                        session.receiver.handle_cursors(committed, checks, context);
                        session.receiver.handle_ledger_committed(ledger);
                        answered.touched.push(id);
                    }
                }
                Reply::Kept(id, up_to) => {
                    if let Some(session) = process.sessions.get_mut(&id) {
                        session.receiver.handle_ledger_committed(up_to);
                        answered.touched.push(id);
                    }
                }
                Reply::Committed(id, lane, up_to, is_repeat) => {
                    answered.repeats += u64::from(is_repeat);
                    if let Some(session) = process.sessions.get_mut(&id) {
                        session.receiver.handle_committed(lane, up_to);
                        answered.touched.push(id);
                    }
                }
            }
        }
        answered
    }
}

/// Runs one command; returns whose it was, and what it answers.
fn run(
    staged: &mut Staged<'_>,
    job: Job,
    analysts: &[Analyst],
    now: Timestamp,
) -> (Option<ConnectionId>, Result<Reply, CommandError>) {
    let done = |id| move |()| Reply::Nothing(Some(id));
    match job {
        Job::Greet(id, peer, hello) => {
            let greeting = greet(staged, peer.tenant, peer.agent, &hello, now);
            (Some(id), greeting.map(|greeting| Reply::Greeted(id, greeting)))
        }
        Job::Block(id, stream, seq, prepared) => {
            let committed = commit(staged, &prepared, now);
            (
                Some(id),
                committed
                    .map(|done| Reply::Committed(id, stream.lane, seq, done == Committed::Before)),
            )
        }
        Job::Gap(id, tenant, stream, gap) => {
            let recorded = record_gap(staged, tenant, stream, gap, now);
            (Some(id), recorded.map(|()| Reply::Committed(id, stream.lane, gap.last, false)))
        }
        Job::Heartbeat(id, peer, beat) => {
            (Some(id), heartbeat(staged, peer.tenant, peer.agent, &beat, now).map(done(id)))
        }
        Job::Context(id, peer, context) => {
            (Some(id), set_context(staged, peer.tenant, peer.agent, &context, now).map(done(id)))
        }
        Job::Ledger(id, peer, epoch, intervals) => {
            let recorded = record(staged, peer.tenant, peer.agent, epoch, &intervals, now);
            (Some(id), recorded.map(|recorded| Reply::Kept(id, recorded.up_to)))
        }
        Job::Person(analyst, wish) => {
            let caller: &Caller = &analysts[analyst].caller;
            let granted = grant(staged, caller, wish, now);
            let claimed = |case| Reply::Claimed(analyst, Box::new(case));
            let is_claim = matches!(wish, Wish::Claim(..));
            (None, granted.map(|c| if is_claim { claimed(c) } else { Reply::Nothing(None) }))
        }
        Job::Expire(ids) => (None, expire(staged, &ids, now).map(|_| Reply::Nothing(None))),
        Job::Policy(id, peer, ack, tried) => {
            let agent = AgentKey { tenant: peer.tenant, agent: peer.agent };
            let keys = [key().public_key()];
            let offered = acknowledge(staged, agent, ack, now)
                .and_then(|()| offer(staged, agent, tried, Terms { keys: &keys, now }));
            (Some(id), offered.map(|offer| Reply::Offered(id, offer)))
        }
        Job::Push(tenant) => (None, bring(staged, tenant, now).map(|()| Reply::Nothing(None))),
    }
}

/// Brings the next version of a tenant's policy, for one agent or for all.
fn bring(staged: &mut Staged<'_>, tenant: TenantId, now: Timestamp) -> Result<(), CommandError> {
    let newest = policies::versions(&*staged, tenant)?.last().copied().unwrap_or(0);
    let envelope = sign(tenant, newest + 1, now);
    let percent = if newest.is_multiple_of(3) { 1 } else { 100 };
    let push_of = Push { tenant, envelope, percent, copy_of: None };
    let fleet = agents(&*staged, tenant, None, 1_000)?;
    push(staged, push_of, (&[key().public_key()], &fleet), &Actor::Coordinator, now).map(drop)
}

/// Brings the view up to the newest journal entry, as the journal's tail does.
fn follow(engine: &dyn Engine, process: &mut Process) -> Result<(), LoadError> {
    for chained in read_after(engine, process.tail, usize::MAX)? {
        process.tail = chained.number;
        let keys: Vec<CaseKey> = chained.entry.event.cases().iter().copied().map(CaseKey).collect();
        for (key, case) in keys.iter().zip(engine.load_many(&keys)?) {
            match case {
                Some(case) => process.view.apply(&case),
                None => process.view.remove(key.0),
            }
        }
    }
    Ok(())
}

/// Builds the view from the store.
pub(crate) fn build_view(engine: &dyn Engine) -> Result<QueueView, LoadError> {
    let mut view = QueueView::new();
    cases_of(engine)?.iter().for_each(|case| view.apply(case));
    Ok(view)
}

/// Returns all cases that are stored.
pub(crate) fn cases_of(engine: &dyn Engine) -> Result<Vec<Case>, LoadError> {
    let (from, to) = range_of::<CaseKey>(&[]);
    let direction = coordinator::store::engine::Direction::Forward;
    let rows = engine.load_range::<CaseKey>(&from..&to, direction, usize::MAX)?;
    Ok(rows.into_iter().map(|(_, case)| case).collect())
}
