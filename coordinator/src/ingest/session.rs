//! Drives one session: the pure [`Receiver`] decides, this carries frames, blocks and time.
//!
//! Only whole frames reach the receiver: each stream's next frame is read by a future that owns the stream, kept in
//! a set, so nothing is lost when another event comes first.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, stream::FuturesUnordered};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use shared::{
    context::HostContext,
    ids::{AgentId, BootId, Epoch, Lane, Seq, StreamId, TenantId},
    ledger::Interval,
    limits::{COMMIT_TIMEOUT, WINDOW_BLOCKS_MAX},
    policy::PolicyOffer,
    renewal::RenewReply,
    session::{ProtocolError, Receiver, ReceiverConfig, ReceiverEvent, Stream, Wake},
    time::Timestamp,
    trust::{SpkiDigest, TrustOffer},
    wire::{Frame, GoodbyeReason, Heartbeat, Hello, SetBack},
};
use tokio::{
    sync::mpsc,
    time::{Sleep, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Peer, Shared,
    ending::{Close, Ending, Failure},
    lane::{Outcome, Work, commit_lane},
    policy::{self, Found, Offers},
    proof,
    quota::Allowance,
    recall::{self, Part, Recalled, Recalling},
    registry::{Place, Registry, Seat},
    renewal,
    streams::{Read, ReadError, read, write},
    trust::{self, Issuers},
};
use crate::{
    clock,
    command::{
        CommandError,
        agents::{self, Greeting},
        claims::{self, Admission, Standing},
        identities::{self, Certificate},
        issued,
        ledger::{self, Recorded},
        trust as issuers,
    },
    limits::{CONTROL_PENDING_MAX, FRAME_WRITE_TIMEOUT},
    store::{engine::Staged, schema::AgentKey, values::Claimant},
};

/// Room for outcomes of lanes: each lane's next; more would only wait here instead of there.
const OUTCOMES: usize = Lane::COUNT;

/// What the store answered about a control frame.
enum Noted {
    Greeted(Box<(Greeting, Claimant)>),
    Quarantined(Timestamp),
    Stands(Standing),
    /// Whether it is to greet again.
    Waits(bool),
    Ledger(Recorded),
    Recalled(Recalled),
    Renewed(RenewReply),
    /// What an agent says of a policy is stored.
    PolicyKept,
    PolicyFound(Option<Box<Found<PolicyOffer>>>),
    /// What an agent says of a trust bundle is stored.
    TrustKept,
    TrustFound(Option<Box<Found<TrustOffer>>>),
    Done,
}

type Reading = Pin<Box<dyn Future<Output = Read> + Send>>;
type Noting = Pin<Box<dyn Future<Output = Result<Noted, Failure>> + Send>>;

/// One session over one connection.
pub(super) struct Session<'a> {
    shared: &'a Arc<Shared>,
    registry: &'a Registry,
    connection: &'a Connection,
    tenant: TenantId,
    agent: AgentId,
    certificate: Certificate,
    /// The key that it has proved to have.
    holder: SpkiDigest,
    allowance: Allowance,
    /// Spool and process of the agent, once it has greeted.
    process: Option<(Epoch, BootId)>,
    /// Whether nothing is taken of it but which host it is.
    is_quarantined: bool,
    receiver: Receiver,
    control: Option<SendStream>,
    lanes: [LaneSide; Lane::COUNT],
    reading: FuturesUnordered<Reading>,
    noting: FuturesUnordered<Noting>,
    outcomes: Outcomes,
    replaced: CancellationToken,
    place: Option<Place<'a>>,
    recalling: Recalling,
    offers: Offers,
    bundles: Offers,
    issuers: Issuers,
    old_age: Pin<Box<Sleep>>,
}

/// What came of lanes' work. Its room is made for the first of them: most sessions say nothing for most of their time.
#[derive(Default)]
struct Outcomes(Option<(mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>)>);

impl Outcomes {
    fn sender(&mut self) -> mpsc::Sender<Outcome> {
        self.0.get_or_insert_with(|| mpsc::channel(OUTCOMES)).0.clone()
    }

    /// Waits for the next one; for ever as long as there is no lane.
    async fn next(&mut self) -> Option<Outcome> {
        match &mut self.0 {
            Some((_, inbox)) => inbox.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Returns one that waits already.
    fn waiting(&mut self) -> Option<Outcome> {
        self.0.as_mut()?.1.try_recv().ok()
    }
}

#[derive(Default)]
struct LaneSide {
    send: Option<SendStream>,
    work: Option<mpsc::Sender<Work>>,
    /// Blocks and gaps that were handed to the lane and are not durable yet.
    pending: usize,
    newest: Option<Seq>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        registry: &'a Registry,
        connection: &'a Connection,
        Peer { key: AgentKey { tenant, agent }, certificate, holder, issuers, .. }: Peer,
        age: Duration,
    ) -> Self {
        Self {
            shared,
            registry,
            connection,
            tenant,
            agent,
            certificate,
            holder,
            allowance: shared.quotas.of(tenant, agent),
            process: None,
            is_quarantined: false,
            receiver: Receiver::new(ReceiverConfig::default(), clock::instant()),
            control: None,
            lanes: Default::default(),
            reading: FuturesUnordered::new(),
            noting: FuturesUnordered::new(),
            outcomes: Outcomes::default(),
            replaced: CancellationToken::new(),
            place: None,
            recalling: Recalling::new(&shared.bells.recalls),
            offers: Offers::new(&shared.bells.policies),
            bundles: Offers::new(&shared.bells.trust),
            issuers: Issuers::new(issuers),
            old_age: Box::pin(sleep(age)),
        }
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self) -> Ending {
        let counters = Arc::clone(&self.shared.counters);
        let _open = counters.sessions_open.hold();
        let ended = match self.exchange().await {
            Ok(reason) => self.end(reason).await,
            Err(failure) => Err(failure),
        };
        let failure = match ended {
            Ok(ending) => return ending,
            Err(failure) => failure,
        };
        // A connection that is lost shows up as whatever was going on; its own reason tells more.
        if let Some(reason) = self.connection.close_reason() {
            return Ending::Gone(reason);
        }
        match &failure {
            Failure::Protocol(ProtocolError::Timeout(_)) => counters.sessions_silent.add_one(),
            failure if failure.close() == Close::Protocol => counters.frames_refused.add_one(),
            _ => {}
        }
        Ending::Failed(failure)
    }

    /// Carries frames until somebody says goodbye. `Ok` is why.
    async fn exchange(&mut self) -> Result<GoodbyeReason, Failure> {
        loop {
            self.transmit().await?;
            let wake = self.receiver.poll_timeout();
            tokio::select! {
                () = self.shared.shutdown.cancelled() => return Ok(GoodbyeReason::Shutdown),
                () = self.replaced.cancelled() => {
                    self.shared.counters.sessions_replaced.add_one();
                    return Ok(GoodbyeReason::Replaced);
                }
                () = self.old_age.as_mut() => return Ok(GoodbyeReason::MaxAge),
                () = until(wake) => self.receiver.handle_timeout(clock::instant())?,
                Some(outcome) = self.outcomes.next() => self.durable(outcome)?,
                Some(noted) = self.noting.next() => {
                    if let Some(reason) = self.noted(noted?)? {
                        return Ok(reason);
                    }
                }
                Some(came) = self.reading.next() => self.take(came)?,
                opened = self.connection.accept_bi() => self.open(opened)?,
                // An answer is awaited: nobody else has reason to open such a stream.
                opened = self.connection.accept_uni(), if self.place.is_some() => {
                    let stream = Some(Stream::Recall);
                    let recv = opened.map_err(|error| stream_failure(stream, &error))?;
                    self.read(recv, stream, None);
                }
                () = self.recalling.rung() => self.look_for_recalls(),
                () = self.offers.rung() => self.look_for_policy(),
                () = self.bundles.rung() => self.look_for_trust(),
                () = asked(self.place.as_ref()) => self.receiver.handle_probe(),
            }
            if let Some(reason) = self.work_off_events()? {
                return Ok(reason);
            }
        }
    }

    fn open(
        &mut self,
        opened: Result<(SendStream, RecvStream), ConnectionError>,
    ) -> Result<(), Failure> {
        let (send, recv) = opened.map_err(|error| stream_failure(None, &error))?;
        self.read(recv, None, Some(send));
        Ok(())
    }

    /// Reads a stream's next frame beside everything else that goes on.
    fn read(&mut self, recv: RecvStream, stream: Option<Stream>, send: Option<SendStream>) {
        let bounds = (self.allowance.clone(), self.shared.room.clone());
        self.reading.push(Box::pin(read(recv, stream, send, bounds)));
    }

    /// Gives what came to the receiver, and reads on.
    fn take(&mut self, came: Read) -> Result<(), Failure> {
        let Read { recv, stream, send, frame } = came;
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()), // finished in order: nothing more comes here
            Err(ReadError::Decode(error)) => return Err(Failure::Frame { stream, error }),
            Err(ReadError::Stream(error)) => return Err(stream_failure(stream, &error)),
        };
        let Some(stream) = stream else { return Ok(()) };
        if let Some(send) = send {
            let side = match stream {
                Stream::Control => &mut self.control,
                Stream::Lane(lane) => &mut self.lanes[lane.index()].send,
                Stream::Recall => return Err(stream_failure(Some(stream), &"opened both ways")),
            };
            if side.is_some() {
                return Err(stream_failure(Some(stream), &"opened twice"));
            }
            *side = Some(send);
        }
        self.receiver.handle_frame(stream, frame, clock::instant())?;
        match stream {
            Stream::Recall => self.recalling.hold(recv),
            Stream::Control | Stream::Lane(_) => {
                self.read(recv, Some(stream), None);
            }
        }
        Ok(())
    }

    /// Does what the receiver asks for. `Some` once the agent said goodbye.
    fn work_off_events(&mut self) -> Result<Option<GoodbyeReason>, Failure> {
        while let Some(event) = self.receiver.poll_event() {
            match event {
                ReceiverEvent::Greeted(hello) => self.greeted(hello),
                ReceiverEvent::Block { lane, seq, block } => {
                    self.hand_over(lane, seq, Work::Block { seq, bytes: block })?;
                }
                ReceiverEvent::Gap { lane, gap } => {
                    tracing::warn!(
                        tenant = %self.tenant, agent = %self.agent, %lane, first = %gap.first,
                        last = %gap.last, reason = ?gap.reason, "blocks will never come"
                    );
                    self.hand_over(lane, gap.last, Work::Gap(gap))?;
                }
                ReceiverEvent::Ledger(intervals) => self.note_ledger(intervals)?,
                ReceiverEvent::Context(context) => self.note_context(context)?,
                ReceiverEvent::Heartbeat(heartbeat) => self.note_heartbeat(heartbeat)?,
                ReceiverEvent::Alive => {
                    if let Some(place) = &self.place {
                        place.seat.answered.notify_waiters();
                    }
                }
                ReceiverEvent::SetBack(set_back) => self.note_set_back(set_back),
                ReceiverEvent::RecallOpened(id) => self.keep(Part::Begin(id)),
                ReceiverEvent::RecallBlock { id, block } => self.keep(Part::Block(id, block)),
                ReceiverEvent::RecallEnded(end) => self.keep(Part::End(end)),
                ReceiverEvent::PolicyAck(ack) => {
                    let key = AgentKey { tenant: self.tenant, agent: self.agent };
                    let kept = policy::keep(Arc::clone(self.shared), key, ack);
                    self.offers.settle();
                    self.beside(kept.map_ok(|()| Noted::PolicyKept))?;
                }
                ReceiverEvent::TrustAck(ack) => {
                    let key = AgentKey { tenant: self.tenant, agent: self.agent };
                    let kept = trust::keep(Arc::clone(self.shared), key, ack);
                    self.bundles.settle();
                    self.beside(kept.map_ok(|()| Noted::TrustKept))?;
                }
                ReceiverEvent::Renew(signing_request) => {
                    let key = AgentKey { tenant: self.tenant, agent: self.agent };
                    let whom = (key, proof(&self.certificate, self.holder));
                    let shared = Arc::clone(self.shared);
                    let reply = renewal::renew(shared, whom, false, signing_request);
                    self.noting.push(Box::pin(reply.map(Noted::Renewed).map(Ok)));
                }
                ReceiverEvent::Goodbye(reason) => return Ok(Some(reason)),
            }
        }
        Ok(None)
    }

    /// Hands work to its lane. The receiver keeps what is under way within the window, so there is room.
    fn hand_over(&mut self, lane: Lane, last: Seq, work: Work) -> Result<(), Failure> {
        let Some((epoch, _)) = self.process else { return Ok(()) };
        let side = &mut self.lanes[lane.index()];
        let sender = side.work.get_or_insert_with(|| {
            let (sender, inbox) = mpsc::channel(WINDOW_BLOCKS_MAX as usize);
            let stream = StreamId { agent: self.agent, epoch, lane };
            let shared = Arc::clone(self.shared);
            let outcomes = self.outcomes.sender();
            self.shared.tasks.spawn(commit_lane(shared, (self.tenant, stream), inbox, outcomes));
            sender
        });
        if sender.try_send(work).is_err() {
            return Err(ProtocolError::WindowExceeded("blocks", lane).into());
        }
        side.pending += 1;
        side.newest = Some(last);
        Ok(())
    }

    /// Takes the news of a lane, and all that waits: acks of one lane that come together are one ack.
    fn durable(&mut self, outcome: Outcome) -> Result<(), Failure> {
        let mut next = Some(outcome);
        while let Some((StreamId { lane, .. }, outcome)) = next {
            let up_to = outcome.map_err(|failure| Failure::Commit { lane, failure: *failure })?;
            let side = &mut self.lanes[lane.index()];
            side.pending = side.pending.saturating_sub(1);
            self.receiver.handle_committed(lane, up_to);
            next = self.outcomes.waiting();
        }
        Ok(())
    }

    /// Stores what a control frame says, beside everything else that goes on.
    fn note<F>(&mut self, what: &'static str, command: F) -> Result<(), Failure>
    where
        F: FnOnce(&mut Staged<'_>) -> Result<Noted, CommandError> + Send + 'static,
    {
        let shared = Arc::clone(self.shared);
        self.beside(async move { store(&shared, what, command).await })
    }

    /// Has something stored beside everything else that goes on, if not too much waits for that.
    fn beside<F>(&mut self, noting: F) -> Result<(), Failure>
    where
        F: Future<Output = Result<Noted, Failure>> + Send + 'static,
    {
        if self.noting.len() >= CONTROL_PENDING_MAX {
            return Err(Failure::ControlFlood);
        }
        self.noting.push(Box::pin(noting));
        Ok(())
    }

    /// Stores intervals of the agent's ledger.
    fn note_ledger(&mut self, intervals: Vec<Interval>) -> Result<(), Failure> {
        let Some((epoch, _)) = self.process else { return Ok(()) };
        let (tenant, agent) = (self.tenant, self.agent);
        let now = self.shared.clock.now();
        self.note("ledger", move |staged| {
            let recorded = ledger::record(staged, tenant, agent, epoch, &intervals, now)?;
            Ok(Noted::Ledger(recorded))
        })
    }

    fn ledger_noted(&mut self, recorded: Recorded) {
        let Recorded { up_to, stored, gaps_explained, gaps_unexplained } = recorded;
        let counters = &self.shared.counters;
        counters.ledger_intervals.add(stored);
        counters.ledger_gaps_explained.add(gaps_explained);
        counters.ledger_gaps_unexplained.add(gaps_unexplained);
        if gaps_unexplained > 0 {
            tracing::warn!(
                tenant = %self.tenant, agent = %self.agent, up_to, gaps_unexplained,
                "agent's ledger shows gaps that nothing explains"
            );
        }
        self.receiver.handle_ledger_committed(up_to);
    }

    /// Makes a part of an answer durable; then the next is read.
    fn keep(&mut self, part: Part) {
        let kept = recall::keep(Arc::clone(self.shared), (self.tenant, self.agent), part);
        self.noting.push(Box::pin(kept.map_ok(Noted::Recalled)));
    }

    /// Looks whether the agent is to be asked for something, if it can be.
    fn look_for_recalls(&mut self) {
        if self.receiver.can_recall() && self.recalling.begin_to_look() {
            let looked = recall::look(Arc::clone(self.shared), (self.tenant, self.agent));
            self.noting.push(Box::pin(looked.map_ok(Noted::Recalled)));
        }
    }

    /// Looks whether the agent is to be offered a policy, if it can be.
    fn look_for_policy(&mut self) {
        if self.receiver.can_offer_policy()
            && let Some(tried) = self.offers.begin_to_look()
        {
            let key = AgentKey { tenant: self.tenant, agent: self.agent };
            let looked = policy::look(Arc::clone(self.shared), key, tried);
            self.noting.push(Box::pin(looked.map_ok(Noted::PolicyFound)));
        }
    }

    fn offer_policy(&mut self, found: Option<Box<Found<PolicyOffer>>>) {
        if let Some(offer) = self.offers.has_looked(found)
            && self.receiver.can_offer_policy()
        {
            self.shared.counters.policies_offered.add_one();
            self.receiver.handle_policy(offer);
        } else if self.offers.is_asked() {
            self.look_for_policy();
        }
    }

    /// Looks whether the agent is to be offered a trust bundle, if it can be.
    fn look_for_trust(&mut self) {
        if self.receiver.can_offer_trust()
            && let Some(tried) = self.bundles.begin_to_look()
        {
            let key = AgentKey { tenant: self.tenant, agent: self.agent };
            let looked = trust::look(Arc::clone(self.shared), key, tried);
            self.noting.push(Box::pin(looked.map_ok(Noted::TrustFound)));
        }
    }

    fn offer_trust(&mut self, found: Option<Box<Found<TrustOffer>>>) {
        if let Some(offer) = self.bundles.has_looked(found)
            && self.receiver.can_offer_trust()
        {
            self.shared.counters.trust_offered.add_one();
            self.receiver.handle_trust(offer);
        } else if self.bundles.is_asked() {
            self.look_for_trust();
        }
    }

    /// Asks the agent to renew, if its certificate is not the present authority's and it is its turn.
    fn reissue(&mut self) {
        if self.receiver.can_renew_now()
            && self.issuers.is_to_renew(self.shared, self.shared.clock.now())
        {
            self.receiver.handle_renew_now();
        }
    }

    fn recalled(&mut self, recalled: Recalled) {
        match recalled {
            Recalled::Due(due) => {
                if let Some(recall) = self.recalling.has_looked(due)
                    && self.receiver.can_recall()
                {
                    self.shared.counters.recalls_asked.add_one();
                    self.receiver.handle_recall(*recall);
                }
            }
            Recalled::Stored => {
                if let Some(recv) = self.recalling.release() {
                    self.read(recv, Some(Stream::Recall), None);
                }
            }
            Recalled::Finished(end) => {
                drop(self.recalling.release());
                self.shared.counters.records_recalled.add(end.records);
                tracing::info!(
                    tenant = %self.tenant, agent = %self.agent, recall = %end.id,
                    records = end.records, is_complete = end.is_complete(), "agent answered"
                );
                self.look_for_recalls();
            }
        }
    }

    /// Takes what came of something that was stored. `Some` if the session is over.
    fn noted(&mut self, noted: Noted) -> Result<Option<GoodbyeReason>, Failure> {
        match noted {
            Noted::Greeted(greeting) => self.welcome(*greeting),
            Noted::Quarantined(since) => return self.quarantine(since).map(|()| None),
            Noted::Stands(Standing::Lost(_)) => return Err(Failure::Quarantined),
            Noted::Stands(Standing::HoldsAndRenews) => self.receiver.handle_renew_now(),
            Noted::Stands(Standing::Holds) | Noted::Waits(false) | Noted::Done => {}
            Noted::Waits(true) => return Ok(Some(GoodbyeReason::Resolved)),
            Noted::Ledger(recorded) => self.ledger_noted(recorded),
            Noted::Recalled(recalled) => self.recalled(recalled),
            Noted::Renewed(reply) => self.receiver.handle_renewed(reply),
            Noted::PolicyKept => self.look_for_policy(),
            Noted::PolicyFound(found) => self.offer_policy(found),
            Noted::TrustKept => self.look_for_trust(),
            Noted::TrustFound(found) => self.offer_trust(found),
        }
        Ok(None)
    }

    fn welcome(&mut self, (greeting, claimant): (Greeting, Claimant)) {
        let key = (self.tenant, self.agent);
        let (place, was_there) =
            self.registry.enter(key, Seat::new(claimant, self.replaced.clone()));
        if was_there {
            tracing::info!(tenant = %self.tenant, agent = %self.agent, "agent connected anew");
        }
        self.place = Some(place);
        let Greeting { committed, checks, context, ledger } = greeting;
        self.receiver.handle_cursors(committed, checks, context);
        self.receiver.handle_ledger_committed(ledger);
        self.look_for_recalls();
        self.reissue();
    }

    fn quarantine(&mut self, since: Timestamp) -> Result<(), Failure> {
        self.shared.counters.sessions_quarantined.add_one();
        tracing::warn!(
            tenant = %self.tenant, agent = %self.agent, from = %self.connection.remote_address(),
            %since, "another host uses this agent's identity: signalbox agent show says which"
        );
        self.is_quarantined = true;
        if self.receiver.handle_quarantine(since) { Ok(()) } else { Err(Failure::Quarantined) }
    }

    /// Stores that an agent greets, and how it is met. If another process of it may live, that is asked first.
    fn greeted(&mut self, hello: Hello) {
        let (epoch, boot) = (hello.epoch, hello.boot);
        self.process = Some((epoch, boot));
        let key = AgentKey { tenant: self.tenant, agent: self.agent };
        let rival = self.registry.rival((self.tenant, self.agent), epoch, boot);
        let from = self.connection.remote_address().to_string();
        let claimant = Claimant { epoch, boot, from, version: hello.agent_version.clone() };
        let (shared, certificate) = (Arc::clone(self.shared), self.certificate.clone());
        let (issuer, rtt) = (self.issuers.first(), self.connection.rtt());
        let shown = proof(&certificate, self.holder);
        self.noting.push(Box::pin(async move {
            let rival = rival.living(rtt).await;
            let now = shared.clock.now();
            let greet = move |staged: &mut Staged<'_>| {
                identities::check(&*staged, key, &certificate)?;
                match claims::admit(staged, key, &claimant, rival.as_ref(), now)? {
                    Admission::Quarantined(since) => Ok(Noted::Quarantined(since)),
                    Admission::Served => {
                        identities::show(staged, key, &certificate, now)?;
                        let is_of_here = issued::greet(staged, key, &shown)?;
                        issuers::greet(staged, key, (issuer, is_of_here), now)?;
                        let greeting = agents::greet(staged, key.tenant, key.agent, &hello, now)?;
                        Ok(Noted::Greeted(Box::new((greeting, claimant))))
                    }
                }
            };
            store(&shared, "greeting", greet).await
        }));
    }

    fn note_context(&mut self, context: Box<HostContext>) -> Result<(), Failure> {
        let key = AgentKey { tenant: self.tenant, agent: self.agent };
        let (now, process) = (self.shared.clock.now(), self.process);
        if let Some(process) = process.filter(|_| self.is_quarantined) {
            return self.note("context", move |staged| {
                claims::describe(staged, key, process, &context)?;
                Ok(Noted::Done)
            });
        }
        self.shared.counters.contexts_stored.add_one();
        self.note("context", move |staged| {
            agents::set_context(staged, key.tenant, key.agent, &context, now)?;
            Ok(Noted::Done)
        })
    }

    /// Notes that an agent lives, and asks whether it is to go on as it does.
    fn note_heartbeat(&mut self, heartbeat: Heartbeat) -> Result<(), Failure> {
        let Some(process) = self.process else { return Ok(()) };
        let key = AgentKey { tenant: self.tenant, agent: self.agent };
        let now = self.shared.clock.now();
        self.offers.settle();
        self.bundles.settle();
        self.shared.counters.heartbeats.add_one();
        if self.is_quarantined {
            return self.note("heartbeat", move |staged| {
                Ok(Noted::Waits(claims::wait(staged, key, process, now)?))
            });
        }
        self.reissue();
        self.note("heartbeat", move |staged| {
            agents::heartbeat(staged, key.tenant, key.agent, &heartbeat, now)?;
            Ok(Noted::Stands(claims::standing(staged, key, process, now)?))
        })
    }

    fn note_set_back(&self, set_back: SetBack) {
        let Some((epoch, _)) = self.process else { return };
        let SetBack { lane, committed, last } = set_back;
        self.shared.counters.spools_set_back.add_one();
        tracing::error!(
            tenant = %self.tenant, agent = %self.agent, %epoch, %lane, %committed, ?last,
            "agent's spool is an older copy that went on by itself: nothing is taken from it"
        );
        let key = AgentKey { tenant: self.tenant, agent: self.agent };
        let (shared, now) = (Arc::clone(self.shared), self.shared.clock.now());
        // The agent ends the session with it: nobody may wait here any more.
        self.shared.tasks.spawn(async move {
            let note = move |staged: &mut Staged<'_>| {
                agents::set_back(staged, key, epoch, set_back, now)?;
                Ok(Noted::Done)
            };
            if let Err(failure) = store(&shared, "set-back spool", note).await {
                tracing::error!(%failure, "a spool that was set back is not in the journal");
            }
        });
    }

    async fn transmit(&mut self) -> Result<(), Failure> {
        while let Some(transmit) = self.receiver.poll_transmit() {
            self.send(transmit.stream, &transmit.frame).await?;
        }
        Ok(())
    }

    async fn send(&mut self, stream: Stream, frame: &Frame) -> Result<(), Failure> {
        let side = match stream {
            Stream::Control => &mut self.control,
            Stream::Lane(lane) => &mut self.lanes[lane.index()].send,
            Stream::Recall => return Ok(()), // one way only
        };
        let Some(send) = side else { return Ok(()) };
        match timeout(FRAME_WRITE_TIMEOUT, write(send, frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Stuck { stream, problem: error.to_string() }),
            Err(late) => Err(Failure::Stuck { stream, problem: late.to_string() }),
        }
    }

    /// Ends in order: stores and acks what was taken, says goodbye, and finishes the control stream.
    async fn end(&mut self, reason: GoodbyeReason) -> Result<Ending, Failure> {
        self.lanes.iter_mut().for_each(|side| drop(side.work.take()));
        let finishing = async {
            while self.lanes.iter().any(|side| side.pending > 0) {
                let Some(outcome) = self.outcomes.next().await else { break };
                self.durable(outcome)?;
                self.transmit().await?;
            }
            self.receiver.handle_close(reason);
            self.transmit().await
        };
        match timeout(COMMIT_TIMEOUT, finishing).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_late) => {
                tracing::warn!(agent = %self.agent, "session ended before all was stored")
            }
        }
        for send in self.lanes.iter_mut().map(|side| &mut side.send).chain([&mut self.control]) {
            // A stream that the peer has stopped needs no end.
            let _stopped = send.as_mut().map(SendStream::finish);
        }
        Ok(Ending::Goodbye(reason))
    }
}

/// Stores what a control frame says.
async fn store<F>(shared: &Shared, what: &'static str, command: F) -> Result<Noted, Failure>
where
    F: FnOnce(&mut Staged<'_>) -> Result<Noted, CommandError> + Send + 'static,
{
    match timeout(COMMIT_TIMEOUT, shared.store.write(command)).await {
        Ok(Ok(noted)) => Ok(noted),
        Ok(Err(error)) => Err(Failure::Control { what, error }),
        Err(_late) => Err(Failure::ControlLate(what)),
    }
}

/// Waits until the session is asked to show that its agent lives; for ever where it has none.
async fn asked(place: Option<&Place<'_>>) {
    match place {
        Some(place) => place.seat.asked.notified().await,
        None => std::future::pending().await,
    }
}

fn stream_failure(stream: Option<Stream>, problem: &impl ToString) -> Failure {
    Failure::Stream { stream, problem: problem.to_string() }
}

async fn until(wake: Option<(Instant, Wake)>) {
    match wake {
        Some((at, _)) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
