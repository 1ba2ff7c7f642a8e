//! What goes wrong, and when: a pure function of a seed. What it takes to do it is `world`'s.

use affluent_testkit::{Condition, Stop};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use std::fmt;
use std::time::Duration;

/// A process of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Broker,
    Registry,
    Capture,
    /// Whatever needs the document store: an embedded one belongs to one process.
    Stores,
    Lake,
    Stage,
}

impl Part {
    /// Those that are ours, whatever the broker is.
    pub(super) const OURS: [Part; 5] = [Part::Registry, Part::Capture, Part::Stores, Part::Lake, Part::Stage];

    /// What it plays; the broker alone answers no HTTP.
    pub(super) fn roles(self) -> &'static [&'static str] {
        match self {
            Part::Broker => &["broker"],
            Part::Registry => &["registry", "api"],
            Part::Capture => &["cdc", "api"],
            Part::Stores => &["api", "collect", "sink-documents", "sink-events", "features", "score"],
            Part::Lake => &["sink-lake", "api"],
            Part::Stage => &["stage", "api"],
        }
    }
}

/// What processes reach through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Database,
    Bus,
}

/// What can be made to go wrong here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Able {
    /// The broker is a process of ours, behind a proxy.
    pub(super) broker: bool,
    /// A process can be given a wrong clock.
    pub(super) clock: bool,
}

/// What goes wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// `kill -9`; it is started again after the while.
    Kill(Part),
    /// SIGSTOP, then SIGCONT.
    Pause(Part),
    /// Killed, and started again with a clock that is so many seconds ahead.
    Clock(Part, i32),
    /// Connections break, and none is made.
    Refuse(Link),
    /// Connections stand, and nothing passes.
    Hold(Link),
    Slow(Link, Condition),
    /// No store of ours has room to write.
    FillDisk,
    RestartPostgres(Stop),
    /// Killed, or stopped in order.
    RestartBroker {
        kill: bool,
    },
    /// Each process is stopped in order and started from the next binary, one after the other.
    RollingRestart,
}

/// The kinds of faults, as the summary counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kill,
    Pause,
    Clock,
    Refuse,
    Hold,
    Slow,
    FillDisk,
    RestartPostgres,
    RestartBroker,
    RollingRestart,
}

impl Kind {
    pub(super) const ALL: [Kind; 10] = [
        Kind::Kill,
        Kind::Pause,
        Kind::Clock,
        Kind::Refuse,
        Kind::Hold,
        Kind::Slow,
        Kind::FillDisk,
        Kind::RestartPostgres,
        Kind::RestartBroker,
        Kind::RollingRestart,
    ];
    /// Those that come together with others. A PostgreSQL that stops waits for its senders, which one that is held or
    /// paused would make long.
    const TOGETHER: [Kind; 5] = [Kind::Kill, Kind::Pause, Kind::Refuse, Kind::Hold, Kind::Slow];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9",
            Kind::Pause => "pause",
            Kind::Clock => "wrong clock",
            Kind::Refuse => "partition, refused",
            Kind::Hold => "partition, held",
            Kind::Slow => "slow link",
            Kind::FillDisk => "full disk",
            Kind::RestartPostgres => "PostgreSQL restarts",
            Kind::RestartBroker => "broker restarts",
            Kind::RollingRestart => "rolling restart",
        }
    }

    fn draw(self, rng: &mut SmallRng, able: Able) -> Fault {
        let link = |rng: &mut SmallRng| {
            if able.broker && rng.random_bool(0.5) { Link::Bus } else { Link::Database }
        };
        match self {
            Kind::Kill => Fault::Kill(Part::OURS[rng.random_range(0..Part::OURS.len())]),
            Kind::Pause if able.broker && rng.random_bool(0.2) => Fault::Pause(Part::Broker),
            Kind::Pause => Fault::Pause(Part::OURS[rng.random_range(0..Part::OURS.len())]),
            Kind::Clock => {
                let seconds = rng.random_range(30..300);
                let part = Part::OURS[rng.random_range(0..Part::OURS.len())];
                Fault::Clock(part, if rng.random_bool(0.5) { seconds } else { -seconds })
            }
            Kind::Refuse => Fault::Refuse(link(rng)),
            Kind::Hold => Fault::Hold(link(rng)),
            Kind::Slow => {
                let latency = Duration::from_millis(rng.random_range(5..100));
                let slow = Condition::Slow { latency, bytes_per_s: rng.random_range(200_000..5_000_000) };
                Fault::Slow(link(rng), slow)
            }
            Kind::FillDisk => Fault::FillDisk,
            Kind::RestartPostgres if rng.random_bool(0.5) => Fault::RestartPostgres(Stop::Immediate),
            Kind::RestartPostgres => Fault::RestartPostgres(Stop::Fast),
            Kind::RestartBroker => Fault::RestartBroker { kill: rng.random_bool(0.5) },
            Kind::RollingRestart => Fault::RollingRestart,
        }
    }
}

impl Fault {
    pub(super) fn kind(self) -> Kind {
        match self {
            Fault::Kill(_) => Kind::Kill,
            Fault::Pause(_) => Kind::Pause,
            Fault::Clock(..) => Kind::Clock,
            Fault::Refuse(_) => Kind::Refuse,
            Fault::Hold(_) => Kind::Hold,
            Fault::Slow(..) => Kind::Slow,
            Fault::FillDisk => Kind::FillDisk,
            Fault::RestartPostgres(_) => Kind::RestartPostgres,
            Fault::RestartBroker { .. } => Kind::RestartBroker,
            Fault::RollingRestart => Kind::RollingRestart,
        }
    }

    fn part(self) -> Option<Part> {
        match self {
            Fault::Kill(part) | Fault::Pause(part) | Fault::Clock(part, _) => Some(part),
            Fault::RestartBroker { .. } => Some(Part::Broker),
            Fault::Refuse(_)
            | Fault::Hold(_)
            | Fault::Slow(..)
            | Fault::FillDisk
            | Fault::RestartPostgres(_)
            | Fault::RollingRestart => None,
        }
    }

    fn link(self) -> Option<Link> {
        match self {
            Fault::Refuse(link) | Fault::Hold(link) | Fault::Slow(link, _) => Some(link),
            Fault::Kill(_)
            | Fault::Pause(_)
            | Fault::Clock(..)
            | Fault::FillDisk
            | Fault::RestartPostgres(_)
            | Fault::RestartBroker { .. }
            | Fault::RollingRestart => None,
        }
    }

    /// Whether both can be at the same time: of two kinds, at two places.
    fn goes_with(self, other: Fault) -> bool {
        let apart = |one: Option<usize>, other: Option<usize>| one.is_none() || one != other;
        let (part, link) = (|f: Fault| f.part().map(|p| p as usize), |f: Fault| f.link().map(|l| l as usize));
        let together = [self, other].iter().all(|fault| Kind::TOGETHER.contains(&fault.kind()));
        together
            && self.kind() != other.kind()
            && apart(part(self), part(other))
            && apart(link(self), link(other))
    }
}

/// One or two faults.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// Since the start; not before what came before is over.
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) faults: Vec<Fault>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(|fault| format!("{fault:?}")).collect();
        let (at, lasts) = (self.at.as_secs_f32(), self.lasts.as_secs_f32());
        write!(f, "at {at:.1} s for {lasts:.1} s: {}", faults.join(" and "))
    }
}

/// Where one goes wrong after another, so many of them come together.
const DOUBLED: f64 = 0.25;

/// What happens within `time`. Every kind has its turn before one has its second. What cannot be done here is left out; of
/// a broker that is not ours, its link and its pause.
pub(super) fn plan(seed: u64, time: Duration, able: Able) -> Vec<Step> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut steps, mut at, mut turns): (Vec<Step>, _, Vec<Kind>) = (Vec::new(), Duration::ZERO, Vec::new());
    loop {
        let kind = turns.pop().unwrap_or_else(|| {
            turns = Kind::ALL.into_iter().filter(|kind| able.clock || *kind != Kind::Clock).collect();
            turns.shuffle(&mut rng);
            turns.remove(0)
        });
        let mut faults = vec![kind.draw(&mut rng, able)];
        if rng.random_bool(DOUBLED)
            && let Some(kind) = Kind::TOGETHER.choose(&mut rng)
        {
            let second = kind.draw(&mut rng, able);
            faults.extend(Some(second).filter(|second| faults[0].goes_with(*second)));
        }
        at += Duration::from_millis(rng.random_range(1_000..4_000));
        let lasts = Duration::from_millis(rng.random_range(500..6_000));
        if at + lasts > time {
            return steps;
        }
        steps.push(Step { at, lasts, faults });
        at += lasts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);
    const ALL: Able = Able { broker: true, clock: true };

    proptest! {
        #[test]
        fn a_seed_gives_one_plan_that_fits_into_its_time(seed: u64, seconds in 0_u64..600, broker: bool, clock: bool) {
            let (time, able) = (Duration::from_secs(seconds), Able { broker, clock });
            let steps = plan(seed, time, able);
            prop_assert_eq!(&steps, &plan(seed, time, able));
            prop_assert!(steps.iter().all(|step| step.at + step.lasts <= time));
            prop_assert!(steps.windows(2).all(|two| two[0].at + two[0].lasts < two[1].at));
            // A longer run begins as a shorter one.
            let longer = plan(seed, time + Duration::from_secs(60), able);
            prop_assert_eq!(&longer[..steps.len()], &steps[..]);
        }

        #[test]
        fn faults_of_a_step_are_at_two_places(seed: u64) {
            for step in plan(seed, HALF_AN_HOUR, ALL) {
                prop_assert!((1..=2).contains(&step.faults.len()), "{step}");
                if let [one, other] = step.faults[..] {
                    prop_assert!(one.goes_with(other) && other.goes_with(one), "{step}");
                }
            }
        }

        #[test]
        fn what_cannot_be_done_is_left_out(seed: u64) {
            let of_the_bus = |fault: &Fault| {
                fault.link() == Some(Link::Bus) || *fault == Fault::Pause(Part::Broker)
            };
            let steps = plan(seed, HALF_AN_HOUR, Able { broker: false, clock: false });
            let mut faults = steps.iter().flat_map(|step| &step.faults);
            prop_assert!(!faults.any(|fault| of_the_bus(fault) || fault.kind() == Kind::Clock));
        }

        #[test]
        fn every_kind_has_its_turn(seed: u64) {
            let steps = plan(seed, HALF_AN_HOUR, ALL);
            let round: BTreeSet<Kind> =
                steps[..Kind::ALL.len()].iter().map(|step| step.faults[0].kind()).collect();
            prop_assert_eq!(round.len(), Kind::ALL.len());
        }
    }

    #[test]
    fn seeds_give_different_plans() {
        assert_ne!(plan(1, HALF_AN_HOUR, ALL), plan(2, HALF_AN_HOUR, ALL));
    }
}
