//! The simulated network: connections of four streams each way.
//!
//! A stream is reliable and ordered as in QUIC: frames arrive in the order in which they were sent, each once, or the
//! connection is lost with all that is in flight, or all but what the coordinator's host already has. Streams may
//! overtake one another. Frames travel as their bytes, so
//! that the codec is driven, too.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use shared::{
    ids::Lane,
    session::Stream,
    wire::{Frame, LEN_BYTES},
};

use crate::random::Random;

/// Streams of a connection: control, and one a lane.
const STREAM_COUNT: usize = 2 + Lane::COUNT;

/// Name of a connection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

/// One of a connection's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Agent,
    Coordinator,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Agent => Self::Coordinator,
            Self::Coordinator => Self::Agent,
        }
    }
}

/// How well the network works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Longest ordinary delay of a frame, in milliseconds.
    pub(crate) delay_ms_max: u64,
    /// One in so many frames is held up.
    pub(crate) stall_one_in: u64,
    /// Longest that a frame is held up, in milliseconds.
    pub(crate) stall_ms_max: u64,
    /// One in so many dials fails.
    pub(crate) dial_fails_one_in: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub(crate) const FAIR: Self = Self {
        delay_ms_max: 20,
        stall_one_in: u64::MAX,
        stall_ms_max: 0,
        dial_fails_one_in: u64::MAX,
    };
}

#[derive(Debug, Default)]
struct Pipe {
    frames: VecDeque<Bytes>,
    /// When the newest frame arrives.
    last_at: u64,
}

#[derive(Debug)]
struct Connection {
    agent: usize,
    /// Whether it is lost, and only what was sent before still reaches the coordinator.
    lingers: bool,
    to_agent: [Pipe; STREAM_COUNT],
    to_coordinator: [Pipe; STREAM_COUNT],
}

/// All connections that live.
#[derive(Debug)]
pub(crate) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    next: u64,
    pub(crate) weather: Weather,
}

impl Network {
    pub(crate) fn new(weather: Weather) -> Self {
        Self { connections: BTreeMap::new(), next: 0, weather }
    }

    /// Makes a connection of `agent`.
    pub(crate) fn connect(&mut self, agent: usize) -> ConnectionId {
        self.next += 1;
        let (to_agent, to_coordinator) = Default::default();
        let connection = Connection { agent, lingers: false, to_agent, to_coordinator };
        self.connections.insert(ConnectionId(self.next), connection);
        ConnectionId(self.next)
    }

    /// Returns the connections that live, and whose they are.
    pub(crate) fn live(&self) -> Vec<(ConnectionId, usize)> {
        let live = self.connections.iter().filter(|(_, connection)| !connection.lingers);
        live.map(|(id, connection)| (*id, connection.agent)).collect()
    }

    /// Sends a frame to the `to` end; returns when it arrives, or nothing if the connection is lost.
    pub(crate) fn send(
        &mut self,
        id: ConnectionId,
        (to, stream): (End, Stream),
        frame: &Frame,
        now_ms: u64,
        random: &mut Random,
    ) -> Option<u64> {
        let weather = self.weather;
        let pipe = self.pipe(id, to, stream, false)?;
        let mut delay = random.between(1, weather.delay_ms_max);
        if random.one_in(weather.stall_one_in) {
            delay += random.below(weather.stall_ms_max + 1);
        }
        let encoded = frame.encode();
        let mut bytes = BytesMut::from(&encoded.head[LEN_BYTES..]);
        bytes.extend_from_slice(&encoded.tail);
        pipe.frames.push_back(bytes.freeze());
        pipe.last_at = pipe.last_at.max(now_ms + delay);
        Some(pipe.last_at)
    }

    /// Hands over the frame that arrives at the `to` end, or nothing if the connection is lost.
    pub(crate) fn receive(&mut self, id: ConnectionId, to: End, stream: Stream) -> Option<Frame> {
        let bytes = self.pipe(id, to, stream, to == End::Coordinator)?.frames.pop_front()?;
        Some(Frame::decode(bytes).expect("what was encoded can be decoded"))
    }

    /// Loses a connection with all that is in flight; returns whether it still lived. If it `lingers`, what was sent
    /// before still reaches the coordinator, until that learns of the loss.
    pub(crate) fn lose(&mut self, id: ConnectionId, lingers: bool) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let lived = !connection.lingers;
        connection.lingers = true;
        if !lingers {
            self.connections.remove(&id);
        }
        lived
    }

    /// Returns a stream towards the `to` end, of a connection that lives, or also of one that lingers.
    fn pipe(
        &mut self,
        id: ConnectionId,
        to: End,
        stream: Stream,
        also_lingering: bool,
    ) -> Option<&mut Pipe> {
        let connection = self.connections.get_mut(&id)?;
        if connection.lingers && !also_lingering {
            return None;
        }
        let index = match stream {
            Stream::Control => 0,
            Stream::Lane(lane) => 1 + lane.index(),
            Stream::Recall => 1 + Lane::COUNT,
        };
        Some(match to {
            End::Agent => &mut connection.to_agent[index],
            End::Coordinator => &mut connection.to_coordinator[index],
        })
    }
}
