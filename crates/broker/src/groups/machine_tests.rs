//! Histories of one group.

use super::*;

fn request(member_id: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        fresh_id: "fresh".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), b"topics".to_vec())],
        ..JoinRequest::default()
    }
}

fn named(fresh_id: &str) -> JoinRequest {
    JoinRequest { fresh_id: fresh_id.to_owned(), ..request("") }
}

fn sync_of(member_id: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncRequest {
    SyncRequest {
        member_id: member_id.to_owned(),
        generation,
        assignments: assignments.iter().map(|(m, a)| ((*m).to_owned(), a.as_bytes().to_vec())).collect(),
        ..SyncRequest::default()
    }
}

fn joined(effects: &Effects) -> Vec<(Token, Result<i32, ResponseError>)> {
    let one = |(token, reply): &(Token, Reply)| match reply {
        Reply::Join(reply) => Some((*token, reply.error.map_or(Ok(reply.generation), Err))),
        Reply::Sync(_) => None,
    };
    effects.replies.iter().filter_map(one).collect()
}

fn synced(effects: &Effects) -> Vec<(Token, Result<String, ResponseError>)> {
    let one = |(token, reply): &(Token, Reply)| match reply {
        Reply::Sync(r) => {
            Some((*token, r.error.map_or(Ok(String::from_utf8(r.assignment.to_vec()).unwrap()), Err)))
        }
        Reply::Join(_) => None,
    };
    effects.replies.iter().filter_map(one).collect()
}

/// A stable group of "a" (the leader) and "b" at time 0, generation 1.
fn pair() -> Group {
    let mut group = Group::new(50);
    assert!(joined(&group.join(named("a"), 1, 0)).is_empty());
    assert!(joined(&group.join(named("b"), 2, 10)).is_empty());
    let effects = group.expire(60);
    assert_eq!(joined(&effects), [(1, Ok(1)), (2, Ok(1))]);
    assert_eq!(group.state, State::CompletingRebalance);
    assert!(synced(&group.sync(sync_of("b", 1, &[]), 3, 61)).is_empty());
    let effects = group.sync(sync_of("a", 1, &[("a", "p0"), ("b", "p1")]), 4, 62);
    assert_eq!(synced(&effects), [(4, Ok("p0".to_owned())), (3, Ok("p1".to_owned()))]);
    assert!(effects.persist && group.state == State::Stable);
    group
}

#[test]
fn two_members_get_what_the_leader_assigned() {
    let mut group = pair();
    assert_eq!(group.leader.as_deref(), Some("a"));
    assert_eq!(synced(&group.sync(sync_of("b", 1, &[]), 5, 70)), [(5, Ok("p1".to_owned()))]);
    assert_eq!(group.heartbeat("b", None, 1, 70), Ok(()));
    assert_eq!(group.heartbeat("b", None, 0, 70), Err(ResponseError::IllegalGeneration));
    assert_eq!(group.heartbeat("c", None, 1, 70), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_third_member_makes_everybody_join_again() {
    let mut group = pair();
    assert!(joined(&group.join(named("c"), 5, 100)).is_empty());
    assert_eq!(group.heartbeat("a", None, 1, 110), Err(ResponseError::RebalanceInProgress));
    assert_eq!(group.check_commit("a", None, 1, 110), Ok(()), "commits go on while members are rejoining");
    assert!(joined(&group.join(request("a"), 6, 120)).is_empty());
    let effects = group.join(request("b"), 7, 130);
    assert_eq!(joined(&effects).len(), 3);
    assert_eq!((group.generation, group.state), (2, State::CompletingRebalance));
    assert_eq!(group.check_commit("a", None, 2, 140), Err(ResponseError::RebalanceInProgress));
}

#[test]
fn a_rebalance_goes_on_without_those_who_do_not_rejoin() {
    let mut group = pair();
    group.join(named("c"), 5, 100);
    group.join(request("a"), 6, 120);
    group.heartbeat("b", None, 1, 9_000).unwrap_err();
    for at in [18_000, 27_000] {
        group.heartbeat("b", None, 1, at).unwrap_err();
        assert!(joined(&group.expire(at)).is_empty());
    }
    let effects = group.expire(30_100);
    assert_eq!(joined(&effects), [(6, Ok(2)), (5, Ok(2))]);
    assert!(!group.members.contains_key("b"));
}

#[test]
fn a_silent_member_is_removed_and_the_rest_rebalances() {
    let mut group = pair();
    assert_eq!(group.heartbeat("a", None, 1, 9_000), Ok(()));
    group.expire(10_100);
    assert!(!group.members.contains_key("b"));
    assert_eq!(group.state, State::PreparingRebalance);
    assert_eq!(joined(&group.join(request("a"), 9, 10_200)), [(9, Ok(2))]);
}

#[test]
fn leaving_empties_the_group() {
    let mut group = pair();
    let (left, _) = group.leave("b", None, 100);
    assert_eq!(left, Ok(()));
    let (left, effects) = group.leave("a", None, 100);
    assert_eq!(left, Ok(()));
    assert!(effects.persist && group.is_empty() && group.state == State::Empty);
    assert_eq!(group.check_commit("", None, -1, 100), Ok(()), "a consumer without a group may commit");
    assert_eq!(group.leave("a", None, 100).0, Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_new_member_comes_back_with_its_id() {
    let mut group = Group::new(0);
    let first = JoinRequest { id_required: true, ..named("x") };
    assert_eq!(joined(&group.join(first, 1, 0)), [(1, Err(ResponseError::MemberIdRequired))]);
    let again = JoinRequest { id_required: true, ..request("x") };
    assert_eq!(joined(&group.join(again, 2, 10)), [(2, Ok(1))]);
    let stranger = JoinRequest { id_required: true, ..request("y") };
    assert_eq!(joined(&group.join(stranger, 3, 10)), [(3, Err(ResponseError::UnknownMemberId))]);
}

#[test]
fn an_id_that_is_not_used_is_void() {
    let mut group = Group::new(0);
    group.join(JoinRequest { id_required: true, ..named("x") }, 1, 0);
    assert_eq!(group.next_deadline_ms(), Some(10_000));
    group.expire(10_000);
    assert!(group.is_empty());
}

#[test]
fn protocols_must_have_one_in_common() {
    let mut group = pair();
    let sticky = vec![("sticky".to_owned(), Vec::new())];
    let other = JoinRequest { protocols: sticky, ..named("c") };
    assert_eq!(joined(&group.join(other, 5, 100)), [(5, Err(ResponseError::InconsistentGroupProtocol))]);
    let connect = JoinRequest { protocol_type: "connect".to_owned(), ..named("c") };
    assert_eq!(joined(&group.join(connect, 6, 100)), [(6, Err(ResponseError::InconsistentGroupProtocol))]);
}

#[test]
fn a_leader_that_never_assigns_is_removed() {
    let mut group = Group::new(0);
    group.join(named("a"), 1, 0);
    group.join(named("b"), 2, 0);
    group.join(request("a"), 3, 1);
    assert_eq!(group.state, State::CompletingRebalance);
    group.sync(sync_of("b", 2, &[]), 4, 2);
    for at in (5_000..30_000).step_by(5_000) {
        group.heartbeat("a", None, 2, at).unwrap();
        assert!(group.expire(at).replies.is_empty());
    }
    let effects = group.expire(30_001);
    assert_eq!(synced(&effects), [(4, Err(ResponseError::RebalanceInProgress))]);
    assert!(!group.members.contains_key("a"));
}

#[test]
fn a_static_member_is_replaced_without_a_rebalance() {
    let fixed = |fresh: &str| JoinRequest { instance_id: Some("i1".to_owned()), ..named(fresh) };
    let mut group = Group::new(0);
    assert_eq!(joined(&group.join(fixed("a1"), 1, 0)), [(1, Ok(1))]);
    group.sync(sync_of("a1", 1, &[("a1", "p0")]), 2, 0);
    let effects = group.join(fixed("a2"), 3, 100);
    assert_eq!(joined(&effects), [(3, Ok(1))]);
    assert_eq!(group.state, State::Stable);
    assert_eq!(synced(&group.sync(sync_of("a2", 1, &[]), 4, 100)), [(4, Ok("p0".to_owned()))]);
    assert_eq!(group.heartbeat("a1", Some("i1"), 1, 100), Err(ResponseError::FencedInstanceId));
}

/// Any history: every token is answered exactly once in the end, and generations never go back.
mod histories {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Debug, Clone)]
    enum Step {
        Join(u8, bool),
        Sync(u8),
        Leave(u8),
        Heartbeat(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..4, any::<bool>()).prop_map(|(m, new)| Step::Join(m, new)),
            (0u8..4).prop_map(Step::Sync),
            (0u8..4).prop_map(Step::Leave),
            (0u8..4).prop_map(Step::Heartbeat),
            (1u64..20_000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn every_request_is_answered_once(steps in prop::collection::vec(step(), 1..80)) {
            let mut group = Group::new(50);
            let mut answers: HashMap<Token, usize> = HashMap::new();
            let (mut now, mut token, mut generation) = (0, 0, 0);
            let take = |effects: Effects, answers: &mut HashMap<Token, usize>| {
                for (token, _) in effects.replies {
                    *answers.entry(token).or_default() += 1;
                }
            };
            for step in steps {
                token += 1;
                let effects = match step {
                    Step::Join(m, new) => {
                        answers.insert(token, 0);
                        let id = format!("m{m}");
                        let first = new && !group.members.contains_key(&id);
                        group.join(if first { named(&id) } else { request(&id) }, token, now)
                    }
                    Step::Sync(m) => {
                        answers.insert(token, 0);
                        group.sync(sync_of(&format!("m{m}"), group.generation, &[]), token, now)
                    }
                    Step::Leave(m) => group.leave(&format!("m{m}"), None, now).1,
                    Step::Heartbeat(m) => {
                        let _ = group.heartbeat(&format!("m{m}"), None, group.generation, now);
                        Effects::default()
                    }
                    Step::Wait(ms) => {
                        now += ms;
                        group.expire(now)
                    }
                };
                take(effects, &mut answers);
                prop_assert!(group.generation >= generation);
                generation = group.generation;
                prop_assert!(group.state != State::Empty || group.members.is_empty());
            }
            for _ in 0..20 {
                now += 40_000;
                take(group.expire(now), &mut answers);
            }
            prop_assert!(group.members.is_empty(), "silent members stay: {:?}", group);
            prop_assert!(answers.values().all(|n| *n == 1), "{:?}", answers);
        }
    }
}
