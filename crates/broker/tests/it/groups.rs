//! Consumer groups: two members share, one goes, the other takes over; offsets stay.

use crate::support::{TestBroker, finish, lines};

fn two_members_share(strategy: &str) {
    let broker = TestBroker::start();
    broker.produce("shared", &lines(0..400, ""), &["-X", "acks=all"]);
    let out = broker.python("two_members.py", &["shared", "400", strategy]);
    assert!(out.contains("shared 2+2"), "{out}");
    assert!(out.contains("took over 4"), "{out}");
}

#[test]
fn eager_members_share_and_take_over() {
    two_members_share("range");
}

#[test]
fn cooperative_members_share_and_take_over() {
    two_members_share("cooperative-sticky");
}

#[test]
fn offsets_and_group_survive_a_restart() {
    let mut broker = TestBroker::start();
    broker.produce("t", &lines(0..100, ""), &["-p", "0"]);
    let first = broker.python("consume_some.py", &["t", "g", "60"]);
    assert_eq!(first.lines().collect::<Vec<_>>(), lines(0..60, ""));
    broker.restart();
    let second = broker.python("consume_some.py", &["t", "g", "40"]);
    assert_eq!(second.lines().collect::<Vec<_>>(), lines(60..100, ""));
}

#[test]
fn members_go_on_through_a_restart() {
    let mut broker = TestBroker::start();
    broker.produce("t", &lines(0..10, ""), &["-p", "0"]);
    let mut member = broker.spawn_python("consume_some.py", &["t", "g", "20", "announce"]);
    let mut started = [0u8; 8];
    std::io::Read::read_exact(member.stdout.as_mut().unwrap(), &mut started).unwrap();
    broker.restart();
    broker.produce("t", &lines(10..20, ""), &["-p", "0"]);
    let seen = finish(member, "consume_some.py");
    let seen: Vec<_> = seen.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect();
    assert_eq!(seen, lines(0..20, ""));
}
