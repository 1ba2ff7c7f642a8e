//! The state machine of one group: what a request or the passing of time does to it. Pure: time is an
//! argument in monotonic milliseconds, answers to waiting requests are returned as effects.
//!
//! Follows the classic (eager and cooperative) rebalance protocol as Apache Kafka's
//! `GroupCoordinator` does; the assignment itself is the members' affair.
//!
//! Invariant: every token given in is answered exactly once, and the generation grows with every
//! completed rebalance.

use super::member::{Member, Token, choose_protocol};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Members of one group, at most.
const MOST_MEMBERS: usize = 1000;

/// Where a group is in its rebalance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    #[default]
    Empty,
    /// Members are to join again.
    PreparingRebalance,
    /// The leader is to bring the assignment.
    CompletingRebalance,
    Stable,
}

impl State {
    /// The name that clients show.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A request to join.
#[derive(Debug, Clone, Default)]
pub(crate) struct JoinRequest {
    pub member_id: String,
    /// The id to give when the member has none yet.
    pub fresh_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    pub protocol_type: String,
    pub protocols: Vec<(String, Vec<u8>)>,
    /// A new member must come back with the id it is given (version 4 and later).
    pub id_required: bool,
    /// The member understands `skip_assignment` (version 9 and later).
    pub may_skip_assignment: bool,
}

/// A request for the assignment; the leader brings everybody's.
#[derive(Debug, Clone, Default)]
pub(crate) struct SyncRequest {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignments: Vec<(String, Vec<u8>)>,
}

/// One member as the leader sees it: id, instance id, metadata.
pub(crate) type Peer = (String, Option<String>, Bytes);

/// Answer to a join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JoinReply {
    pub error: Option<ResponseError>,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    pub member_id: String,
    pub members: Vec<Peer>,
    pub skip_assignment: bool,
}

/// Answer to a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SyncReply {
    pub error: Option<ResponseError>,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

/// An answer for a waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Join(JoinReply),
    Sync(SyncReply),
}

/// What the caller has to do after a step.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub replies: Vec<(Token, Reply)>,
    /// The stored state of the group is out of date.
    pub persist: bool,
}

impl Effects {
    fn refuse_join(&mut self, token: Token, member_id: &str, error: ResponseError) {
        let reply = JoinReply {
            error: Some(error),
            generation: -1,
            member_id: member_id.to_owned(),
            ..Default::default()
        };
        self.replies.push((token, Reply::Join(reply)));
    }

    fn refuse_sync(&mut self, token: Token, error: ResponseError) {
        self.replies.push((token, Reply::Sync(SyncReply { error: Some(error), ..Default::default() })));
    }
}

/// How long members of a restored group are waited for.
const RESTORED_SESSION_MS: u64 = 1500;

/// One group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub state: State,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Ids given out and not yet used, with the time at which they are void.
    #[serde(skip)]
    pending: BTreeMap<String, u64>,
    /// When the rebalance goes on without those who are missing.
    #[serde(skip)]
    deadline_ms: u64,
    /// The first rebalance of an empty group: until when it may be put off at most.
    #[serde(skip)]
    gathering_until_ms: Option<u64>,
    #[serde(skip)]
    initial_delay_ms: u64,
}

impl Group {
    pub(crate) fn new(initial_delay_ms: u64) -> Self {
        Self { initial_delay_ms, ..Self::default() }
    }

    /// A group read from disk: unfinished rebalances start over. Members often ended together with the
    /// broker: those who are still there have less than a session to show it, so that nobody waits long
    /// for the others. Who comes later joins again.
    pub(crate) fn restored(mut self, initial_delay_ms: u64, now_ms: u64) -> Self {
        self.initial_delay_ms = initial_delay_ms;
        for member in self.members.values_mut() {
            member.expires_ms = now_ms + member.session_timeout_ms.min(RESTORED_SESSION_MS);
        }
        self
    }

    /// Nothing but committed offsets is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// A member joins, for the first time or again.
    pub(crate) fn join(&mut self, request: JoinRequest, token: Token, now_ms: u64) -> Effects {
        let mut effects = Effects::default();
        match self.place(&request, now_ms) {
            Ok(Place::New(id)) => self.add(id, request, token, now_ms, &mut effects),
            Ok(Place::Known) => self.rejoin(request, token, now_ms, &mut effects),
            Ok(Place::Replaces(old)) => self.replace(&old, request, token, now_ms, &mut effects),
            Err((id, error)) => effects.refuse_join(token, &id, error),
        }
        effects
    }

    fn place(&mut self, request: &JoinRequest, now_ms: u64) -> Result<Place, (String, ResponseError)> {
        let refuse = |error| Err((request.member_id.clone(), error));
        let others = || self.members.iter().filter(|(id, _)| **id != request.member_id).map(|(_, m)| m);
        let others_speak = |name: &str| others().all(|member| member.speaks(name));
        let fits = others().next().is_none()
            || (self.protocol_type.as_deref() == Some(&request.protocol_type)
                && request.protocols.iter().any(|(name, _)| others_speak(name)));
        if request.protocols.is_empty() || request.protocol_type.is_empty() || !fits {
            return refuse(ResponseError::InconsistentGroupProtocol);
        }
        let is_static = request.instance_id.is_some();
        let holder = self.holder(request.instance_id.as_deref());
        if request.member_id.is_empty() {
            if let Some(old) = holder {
                return Ok(Place::Replaces(old));
            }
            if self.members.len() + self.pending.len() >= MOST_MEMBERS {
                return refuse(ResponseError::GroupMaxSizeReached);
            }
            if request.id_required && !is_static {
                self.pending.insert(request.fresh_id.clone(), now_ms + request.session_timeout_ms);
                return Err((request.fresh_id.clone(), ResponseError::MemberIdRequired));
            }
            return Ok(Place::New(request.fresh_id.clone()));
        }
        if self.pending.remove(&request.member_id).is_some() {
            return Ok(Place::New(request.member_id.clone()));
        }
        match self.identify(&request.member_id, request.instance_id.as_deref()) {
            Ok(()) => Ok(Place::Known),
            Err(error) => refuse(error),
        }
    }

    /// The member that holds a static identity.
    fn holder(&self, instance_id: Option<&str>) -> Option<String> {
        let instance_id = instance_id?;
        let mut members = self.members.iter();
        members.find(|(_, m)| m.instance_id.as_deref() == Some(instance_id)).map(|(id, _)| id.clone())
    }

    /// Whether `member_id` is a member, under the static identity it claims.
    fn identify(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        match self.holder(instance_id) {
            Some(holder) if holder != member_id => Err(ResponseError::FencedInstanceId),
            _ if self.members.contains_key(member_id) => Ok(()),
            _ => Err(ResponseError::UnknownMemberId),
        }
    }

    fn add(&mut self, id: String, request: JoinRequest, token: Token, now_ms: u64, effects: &mut Effects) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        let member = Member {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: Vec::new(),
            joining: Some(token),
            syncing: None,
            expires_ms: now_ms + request.session_timeout_ms,
        };
        self.members.insert(id, member);
        if self.state == State::PreparingRebalance {
            if let Some(until) = self.gathering_until_ms {
                self.deadline_ms = (now_ms + self.initial_delay_ms).min(until);
            }
            self.complete_if_all_joined(now_ms, effects);
        } else {
            self.prepare(now_ms, effects);
        }
    }

    fn rejoin(&mut self, request: JoinRequest, token: Token, now_ms: u64, effects: &mut Effects) {
        let is_leader = self.leader.as_deref() == Some(&request.member_id);
        let id = request.member_id.clone();
        let Some(member) = self.members.get_mut(&id) else { return };
        member.renew(now_ms);
        let unchanged = member.protocols == request.protocols;
        let current = match self.state {
            State::CompletingRebalance => unchanged,
            State::Stable => unchanged && !is_leader,
            State::PreparingRebalance | State::Empty => false,
        };
        if current {
            let reply = self.join_reply(&id);
            effects.replies.push((token, Reply::Join(reply)));
            return;
        }
        member.protocols = request.protocols;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        if let Some(earlier) = member.joining.replace(token) {
            effects.refuse_join(earlier, &id, ResponseError::RebalanceInProgress);
        }
        if self.state == State::PreparingRebalance {
            self.complete_if_all_joined(now_ms, effects);
        } else {
            self.prepare(now_ms, effects);
        }
    }

    /// A static member came back with a new process: it takes the place of the old one.
    fn replace(&mut self, old: &str, request: JoinRequest, token: Token, now_ms: u64, effects: &mut Effects) {
        let Some(mut member) = self.members.remove(old) else { return };
        if let Some(earlier) = member.joining.take() {
            effects.refuse_join(earlier, old, ResponseError::FencedInstanceId);
        }
        if let Some(earlier) = member.syncing.take() {
            effects.refuse_sync(earlier, ResponseError::FencedInstanceId);
        }
        let id = request.fresh_id.clone();
        let was_leader = self.leader.as_deref() == Some(old);
        if was_leader {
            self.leader = Some(id.clone());
        }
        let chosen = self.protocol.clone().unwrap_or_default();
        let before = member.metadata(&chosen);
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.protocols = request.protocols;
        member.renew(now_ms);
        let unchanged = member.metadata(&chosen) == before;
        self.members.insert(id.clone(), member);
        if self.state == State::Stable && unchanged {
            let mut reply = self.join_reply(&id);
            if was_leader && request.may_skip_assignment {
                reply.skip_assignment = true;
            } else if was_leader {
                // An older client must not think that it has to assign anew.
                old.clone_into(&mut reply.leader);
                reply.members.clear();
            }
            effects.replies.push((token, Reply::Join(reply)));
            effects.persist = true;
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(token);
        }
        if self.state == State::PreparingRebalance {
            self.complete_if_all_joined(now_ms, effects);
        } else {
            self.prepare(now_ms, effects);
        }
    }

    fn prepare(&mut self, now_ms: u64, effects: &mut Effects) {
        if self.state == State::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment.clear();
                if let Some(token) = member.syncing.take() {
                    member.expires_ms = now_ms + member.session_timeout_ms;
                    effects.refuse_sync(token, ResponseError::RebalanceInProgress);
                }
            }
        }
        let patience_ms = self.patience_ms();
        if self.state == State::Empty {
            self.gathering_until_ms = Some(now_ms + patience_ms);
            self.deadline_ms = now_ms + self.initial_delay_ms.min(patience_ms);
        } else {
            self.gathering_until_ms = None;
            self.deadline_ms = now_ms + patience_ms;
        }
        self.state = State::PreparingRebalance;
        self.complete_if_all_joined(now_ms, effects);
    }

    /// How long a rebalance waits for its slowest member.
    fn patience_ms(&self) -> u64 {
        self.members.values().map(|m| m.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn complete_if_all_joined(&mut self, now_ms: u64, effects: &mut Effects) {
        let gathering = self.gathering_until_ms.is_some() && now_ms < self.deadline_ms;
        let all = self.members.values().all(|m| m.joining.is_some()) && self.pending.is_empty();
        if self.state == State::PreparingRebalance && !gathering && all {
            self.complete(now_ms, effects);
        }
    }

    fn complete(&mut self, now_ms: u64, effects: &mut Effects) {
        self.gathering_until_ms = None;
        self.members.retain(|_, m| m.joining.is_some() || m.instance_id.is_some());
        if self.members.is_empty() {
            self.state = State::Empty;
            self.generation = self.generation.wrapping_add(1).max(0);
            self.protocol = None;
            self.leader = None;
            effects.persist = true;
            return;
        }
        if self.members.values().all(|m| m.joining.is_none()) {
            // Only absent static members are left; their sessions decide.
            self.deadline_ms = now_ms + self.patience_ms().max(1000);
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol = choose_protocol(self.members.values());
        let joined = |id: &String| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            self.leader = self.members.keys().find(|id| joined(id)).cloned();
        }
        self.state = State::CompletingRebalance;
        self.deadline_ms = now_ms + self.patience_ms();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let reply = self.join_reply(&id);
            if let Some(member) = self.members.get_mut(&id)
                && let Some(token) = member.joining.take()
            {
                member.renew(now_ms);
                effects.replies.push((token, Reply::Join(reply)));
            }
        }
    }

    fn join_reply(&self, id: &str) -> JoinReply {
        let leads = self.leader.as_deref() == Some(id);
        let protocol = self.protocol.clone().unwrap_or_default();
        let peers = || {
            let peer =
                |(id, m): (&String, &Member)| (id.clone(), m.instance_id.clone(), m.metadata(&protocol));
            self.members.iter().map(peer).collect()
        };
        JoinReply {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            members: if leads { peers() } else { Vec::new() },
            skip_assignment: false,
        }
    }

    /// A member asks for its assignment; the leader's request completes the rebalance.
    pub(crate) fn sync(&mut self, request: SyncRequest, token: Token, now_ms: u64) -> Effects {
        let mut effects = Effects::default();
        if let Err(error) = self.check_sync(&request) {
            effects.refuse_sync(token, error);
            return effects;
        }
        let leads = self.leader.as_deref() == Some(&request.member_id);
        let Some(member) = self.members.get_mut(&request.member_id) else { return effects };
        member.renew(now_ms);
        if self.state == State::CompletingRebalance {
            if let Some(earlier) = member.syncing.replace(token) {
                effects.refuse_sync(earlier, ResponseError::RebalanceInProgress);
            }
            if leads {
                for member in self.members.values_mut() {
                    member.assignment.clear();
                }
                for (id, assignment) in request.assignments {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.assignment = assignment;
                    }
                }
                self.state = State::Stable;
                effects.persist = true;
                self.answer_syncs(now_ms, &mut effects);
            }
        } else {
            let reply = self.sync_reply(&request.member_id);
            effects.replies.push((token, Reply::Sync(reply)));
        }
        effects
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ResponseError> {
        self.identify(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, is: &Option<String>| asked.is_some() && asked != is;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    fn answer_syncs(&mut self, now_ms: u64, effects: &mut Effects) {
        let waiting: Vec<_> =
            self.members.iter_mut().filter_map(|(id, m)| Some((id.clone(), m.syncing.take()?))).collect();
        for (id, token) in waiting {
            effects.replies.push((token, Reply::Sync(self.sync_reply(&id))));
            if let Some(member) = self.members.get_mut(&id) {
                member.renew(now_ms);
            }
        }
    }

    fn sync_reply(&self, id: &str) -> SyncReply {
        let assignment = self.members.get(id).map(|m| Bytes::copy_from_slice(&m.assignment));
        SyncReply {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// A member says that it is alive.
    ///
    /// # Errors
    /// The protocol's answer when it has to do something first.
    pub(crate) fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now_ms: u64,
    ) -> Result<(), ResponseError> {
        self.identify(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.renew(now_ms);
        }
        if self.state == State::PreparingRebalance { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }

    /// Whether a commit under this identity is accepted. A negative generation without a member id
    /// comes from a consumer that manages its partitions itself.
    ///
    /// # Errors
    /// The protocol's answer when it is not.
    pub(crate) fn check_commit(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now_ms: u64,
    ) -> Result<(), ResponseError> {
        if generation < 0 && member_id.is_empty() && self.members.is_empty() {
            return Ok(());
        }
        self.identify(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.renew(now_ms);
        }
        Ok(())
    }

    /// A member leaves; a static one may be named by its instance id alone.
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now_ms: u64,
    ) -> (Result<(), ResponseError>, Effects) {
        let mut effects = Effects::default();
        if self.pending.remove(member_id).is_some() {
            self.complete_if_all_joined(now_ms, &mut effects);
            return (Ok(()), effects);
        }
        let holder = self.holder(instance_id);
        let id = if member_id.is_empty() { holder.unwrap_or_default() } else { member_id.to_owned() };
        let known = self.identify(&id, instance_id);
        if known.is_ok() {
            self.remove(&id, now_ms, &mut effects);
        }
        (known, effects)
    }

    fn remove(&mut self, id: &str, now_ms: u64, effects: &mut Effects) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(token) = member.joining {
            effects.refuse_join(token, id, ResponseError::UnknownMemberId);
        }
        if let Some(token) = member.syncing {
            effects.refuse_sync(token, ResponseError::UnknownMemberId);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = None;
        }
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare(now_ms, effects),
            State::PreparingRebalance => self.complete_if_all_joined(now_ms, effects),
            State::Empty => {}
        }
    }

    /// Time has passed: sessions end, rebalances stop waiting.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Effects {
        let mut effects = Effects::default();
        let void = self.pending.len();
        self.pending.retain(|_, until| *until > now_ms);
        let silent = |m: &Member| m.expires_ms <= now_ms && m.joining.is_none() && m.syncing.is_none();
        let gone: Vec<String> =
            self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.remove(id, now_ms, &mut effects);
        }
        if void != self.pending.len() {
            self.complete_if_all_joined(now_ms, &mut effects);
        }
        if now_ms >= self.deadline_ms {
            match self.state {
                State::PreparingRebalance => self.complete(now_ms, &mut effects),
                State::CompletingRebalance => {
                    let late: Vec<String> = self
                        .members
                        .iter()
                        .filter(|(_, m)| m.syncing.is_none())
                        .map(|(id, _)| id.clone())
                        .collect();
                    late.iter().for_each(|id| self.remove(id, now_ms, &mut effects));
                }
                State::Empty | State::Stable => {}
            }
        }
        effects
    }

    /// When [`Self::expire`] has something to do next.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let rebalancing = matches!(self.state, State::PreparingRebalance | State::CompletingRebalance);
        let waiting = |m: &&Member| m.joining.is_none() && m.syncing.is_none();
        let sessions = self.members.values().filter(waiting).map(|m| m.expires_ms);
        sessions.chain(self.pending.values().copied()).chain(rebalancing.then_some(self.deadline_ms)).min()
    }
}

enum Place {
    New(String),
    Known,
    Replaces(String),
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
