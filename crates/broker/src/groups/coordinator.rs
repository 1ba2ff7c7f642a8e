//! Carries out what the machines of all groups decide: keeps the waiting requests, the clock and the
//! journal. Requests of a group are decided one at a time under one lock; nothing waits under it.

use super::machine::{Effects, Group, JoinReply, JoinRequest, Reply, State, SyncReply, SyncRequest};
use super::member::Token;
use super::offsets::{self, Committed, Entry, Offsets};
use crate::error::Error;
use crate::flush::{Durable, Flusher};
use crate::journal::Journal;
use crate::options::{BrokerOptions, Flush};
use kafka_protocol::error::ResponseError;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// Groups, at most; beyond it no new ones are begun.
const MOST_GROUPS: usize = 20_000;
/// Bytes of metadata that one member may bring.
const METADATA_BYTES: usize = 1 << 20;
/// The longest session of Kafka's defaults.
const MOST_SESSION_MS: u64 = 30 * 60 * 1000;

#[derive(Default)]
struct Entity {
    machine: Group,
    offsets: Offsets,
}

struct Inner {
    groups: HashMap<String, Entity>,
    waiting: HashMap<Token, oneshot::Sender<Reply>>,
    next_token: Token,
    journal: Journal,
    /// Journal appends so far.
    written: u64,
}

/// Who commits, and for which generation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitTarget<'a> {
    pub group: &'a str,
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub generation: i32,
}

/// A group as administrators see it.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub group: String,
    pub machine: Group,
}

/// All groups of this broker.
pub(crate) struct Coordinator {
    options: Arc<BrokerOptions>,
    inner: Mutex<Inner>,
    wake: Notify,
    began: Instant,
    /// How many of the journal's appends are durable.
    durable: AtomicU64,
}

impl Coordinator {
    /// Reads every group back.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn open(options: Arc<BrokerOptions>) -> Result<Self, Error> {
        let (journal, stored) = offsets::open(&options.data_dir.join("groups.journal"))?;
        let delay = options.group_initial_rebalance_delay_ms;
        let restore = |(id, group): (String, offsets::Stored)| {
            (id, Entity { machine: group.state.restored(delay, 0), offsets: group.offsets })
        };
        let groups = stored.into_iter().map(restore).collect();
        let inner = Inner { groups, waiting: HashMap::new(), next_token: 1, journal, written: 0 };
        Ok(Self {
            options,
            inner: Mutex::new(inner),
            wake: Notify::new(),
            began: Instant::now(),
            durable: AtomicU64::new(0),
        })
    }

    /// Lets time pass for the groups until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        loop {
            let next = self.inner.lock().groups.values().filter_map(|g| g.machine.next_deadline_ms()).min();
            let pause = next.map_or(Duration::from_secs(60), |at| {
                Duration::from_millis(at.saturating_sub(self.now_ms())).max(Duration::from_millis(1))
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => self.expire(),
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn expire(&self) {
        let now = self.now_ms();
        let mut inner = self.inner.lock();
        let due = |entity: &Entity| entity.machine.next_deadline_ms().is_some_and(|at| at <= now);
        let expired = inner.groups.iter_mut().filter(|(_, entity)| due(entity));
        let changed: Vec<(String, Effects)> =
            expired.map(|(id, entity)| (id.clone(), entity.machine.expire(now))).collect();
        for (id, effects) in changed {
            self.carry_out(&mut inner, &id, effects);
        }
    }

    /// Joins and waits for the rebalance to complete.
    pub(crate) async fn join(&self, group: &str, request: JoinRequest) -> JoinReply {
        let refuse = |error| JoinReply { error: Some(error), generation: -1, ..JoinReply::default() };
        if group.is_empty() {
            return refuse(ResponseError::InvalidGroupId);
        }
        if request.session_timeout_ms == 0 || request.session_timeout_ms > MOST_SESSION_MS {
            return refuse(ResponseError::InvalidSessionTimeout);
        }
        if request.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum::<usize>()
            > METADATA_BYTES
        {
            return refuse(ResponseError::InvalidRequest);
        }
        let member_id = request.member_id.clone();
        let reply = {
            let mut inner = self.inner.lock();
            let known = inner.groups.contains_key(group);
            if !known && (!request.member_id.is_empty() || inner.groups.len() >= MOST_GROUPS) {
                let error = if request.member_id.is_empty() {
                    ResponseError::GroupMaxSizeReached
                } else {
                    ResponseError::UnknownMemberId
                };
                return refuse(error);
            }
            let (token, reply) = inner.wait();
            let delay = self.options.group_initial_rebalance_delay_ms;
            let fresh = || Entity { machine: Group::new(delay), offsets: Offsets::new() };
            let entity = inner.groups.entry(group.to_owned()).or_insert_with(fresh);
            let effects = entity.machine.join(request, token, self.now_ms());
            self.carry_out(&mut inner, group, effects);
            reply
        };
        match reply.await {
            Ok(Reply::Join(reply)) => reply,
            _ => JoinReply { member_id, ..refuse(ResponseError::RebalanceInProgress) },
        }
    }

    /// Brings or fetches the assignment; waits for the leader.
    pub(crate) async fn sync(&self, group: &str, request: SyncRequest) -> SyncReply {
        let refuse = |error| SyncReply { error: Some(error), ..SyncReply::default() };
        let reply = {
            let mut inner = self.inner.lock();
            let (token, reply) = inner.wait();
            let Some(entity) = inner.groups.get_mut(group) else {
                inner.waiting.remove(&token);
                return refuse(ResponseError::UnknownMemberId);
            };
            let effects = entity.machine.sync(request, token, self.now_ms());
            self.carry_out(&mut inner, group, effects);
            reply
        };
        match reply.await {
            Ok(Reply::Sync(reply)) => reply,
            _ => refuse(ResponseError::RebalanceInProgress),
        }
    }

    /// Keeps a member's session alive.
    ///
    /// # Errors
    /// The protocol's answer when the member has to do something first.
    pub(crate) fn heartbeat(&self, target: CommitTarget<'_>) -> Result<(), ResponseError> {
        let mut inner = self.inner.lock();
        let entity = inner.groups.get_mut(target.group).ok_or(ResponseError::UnknownMemberId)?;
        entity.machine.heartbeat(target.member_id, target.instance_id, target.generation, self.now_ms())
    }

    /// Removes one member.
    ///
    /// # Errors
    /// When there is no such member.
    pub(crate) fn leave(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        let mut inner = self.inner.lock();
        let entity = inner.groups.get_mut(group).ok_or(ResponseError::UnknownMemberId)?;
        let (left, effects) = entity.machine.leave(member_id, instance_id, self.now_ms());
        self.carry_out(&mut inner, group, effects);
        left
    }

    /// Stores offsets; durable as the flush policy promises when it returns.
    ///
    /// # Errors
    /// When the member may not commit now, or nothing can be written.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        target: CommitTarget<'_>,
        commits: &[(&str, i32, Committed)],
        flusher: &Flusher,
    ) -> Result<(), ResponseError> {
        let written = {
            let mut inner = self.inner.lock();
            if target.group.is_empty() {
                return Err(ResponseError::InvalidGroupId);
            }
            let full = inner.groups.len() >= MOST_GROUPS;
            match inner.groups.get_mut(target.group) {
                Some(entity) => entity.machine.check_commit(
                    target.member_id,
                    target.instance_id,
                    target.generation,
                    self.now_ms(),
                )?,
                None if target.generation >= 0 => return Err(ResponseError::IllegalGeneration),
                None if full => return Err(ResponseError::GroupMaxSizeReached),
                None => {}
            }
            let entry = |(topic, partition, committed): &(&str, i32, Committed)| Entry::Commit {
                group: Cow::Owned(target.group.to_owned()),
                topic: Cow::Owned((*topic).to_owned()),
                partition: *partition,
                committed: Cow::Owned(committed.clone()),
            };
            let entries: Vec<_> = commits.iter().map(entry).collect();
            inner.write(&entries).map_err(|_| ResponseError::CoordinatorNotAvailable)?;
            let delay = self.options.group_initial_rebalance_delay_ms;
            let fresh = || Entity { machine: Group::new(delay), offsets: Offsets::new() };
            let entity = inner.groups.entry(target.group.to_owned()).or_insert_with(fresh);
            for (topic, partition, committed) in commits {
                entity.offsets.entry((*topic).to_owned()).or_default().insert(*partition, committed.clone());
            }
            inner.rewrite_if_due();
            inner.written
        };
        if self.options.flush == Flush::Group {
            let target: Arc<dyn Durable> = Arc::clone(self) as _;
            flusher.flushed(flusher.mark(&target)).await;
            if self.durable.load(Ordering::Acquire) < written {
                return Err(ResponseError::CoordinatorNotAvailable);
            }
        }
        Ok(())
    }

    /// Every committed offset of a group.
    pub(crate) fn offsets(&self, group: &str) -> Offsets {
        self.inner.lock().groups.get(group).map(|entity| entity.offsets.clone()).unwrap_or_default()
    }

    /// Every group: id, protocol type, state.
    pub(crate) fn list(&self) -> Vec<(String, String, State)> {
        let inner = self.inner.lock();
        let line = |(id, entity): (&String, &Entity)| {
            (id.clone(), entity.machine.protocol_type.clone().unwrap_or_default(), entity.machine.state)
        };
        let mut groups: Vec<_> = inner.groups.iter().map(line).collect();
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        groups
    }

    /// One group, if there is such.
    pub(crate) fn describe(&self, group: &str) -> Option<Description> {
        let inner = self.inner.lock();
        let entity = inner.groups.get(group)?;
        Some(Description { group: group.to_owned(), machine: entity.machine.clone() })
    }

    /// Deletes a group without members and its offsets.
    ///
    /// # Errors
    /// When it has members, does not exist, or nothing can be written.
    pub(crate) fn delete(&self, group: &str) -> Result<(), ResponseError> {
        let mut inner = self.inner.lock();
        let entity = inner.groups.get(group).ok_or(ResponseError::GroupIdNotFound)?;
        if !entity.machine.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        inner
            .write(&[Entry::Drop { group: group.into() }])
            .map_err(|_| ResponseError::CoordinatorNotAvailable)?;
        inner.groups.remove(group);
        Ok(())
    }

    /// Forgets the offsets of a topic that was deleted.
    pub(crate) fn forget_topic(&self, topic: &str) {
        let mut inner = self.inner.lock();
        let mut entries = Vec::new();
        for (group, entity) in &mut inner.groups {
            if entity.offsets.remove(topic).is_some() {
                entries.push(Entry::Forget { group: Cow::Owned(group.clone()), topic: topic.into() });
            }
        }
        if let Err(error) = inner.write(&entries) {
            tracing::warn!(topic, %error, "offsets of a deleted topic could not be removed from the journal");
        }
    }

    /// Drops groups that have been without members and commits for too long.
    pub(crate) fn retain(&self, now_unix_ms: i64) {
        let before = now_unix_ms.saturating_sub(self.options.offsets_retention_ms);
        let mut inner = self.inner.lock();
        let newest =
            |entity: &Entity| entity.offsets.values().flat_map(|p| p.values()).map(|c| c.at_ms).max();
        let dead = |entity: &Entity| entity.machine.is_empty() && newest(entity).is_none_or(|at| at < before);
        let gone: Vec<String> =
            inner.groups.iter().filter(|(_, e)| dead(e)).map(|(id, _)| id.clone()).collect();
        for group in gone {
            if inner.write(&[Entry::Drop { group: group.as_str().into() }]).is_ok() {
                inner.groups.remove(&group);
            }
        }
        inner.rewrite_if_due();
    }

    fn carry_out(&self, inner: &mut Inner, group: &str, effects: Effects) {
        if effects.persist
            && let Some(entity) = inner.groups.get(group)
        {
            let state = entity.machine.clone();
            let entry = Entry::State { group: group.into(), state: Cow::Owned(state) };
            if let Err(error) = inner.write(&[entry]) {
                tracing::warn!(group, %error, "group state could not be stored");
            }
        }
        for (token, reply) in effects.replies {
            if let Some(waiting) = inner.waiting.remove(&token) {
                let _ = waiting.send(reply);
            }
        }
        self.wake.notify_one();
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

impl Durable for Coordinator {
    fn sync(&self) {
        let (handle, written) = {
            let inner = self.inner.lock();
            (inner.journal.handle(), inner.written)
        };
        match handle.and_then(|file| file.sync_data()) {
            Ok(()) => {
                self.durable.fetch_max(written, Ordering::AcqRel);
            }
            Err(error) => tracing::error!(%error, "fsync of the group journal failed"),
        }
    }
}

impl Inner {
    fn wait(&mut self) -> (Token, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        let token = self.next_token;
        self.next_token += 1;
        self.waiting.insert(token, sender);
        (token, receiver)
    }

    fn write(&mut self, entries: &[Entry<'_>]) -> std::io::Result<()> {
        self.journal
            .append(entries)
            .inspect_err(|error| tracing::error!(%error, "group journal append failed"))?;
        self.written += 1;
        Ok(())
    }

    fn rewrite_if_due(&mut self) {
        if !self.journal.wants_rewrite() {
            return;
        }
        let entries =
            self.groups.iter().flat_map(|(group, e)| offsets::entries(group, &e.machine, &e.offsets));
        if let Err(error) = self.journal.rewrite(entries) {
            tracing::warn!(%error, "group journal was not rewritten");
        }
    }
}
