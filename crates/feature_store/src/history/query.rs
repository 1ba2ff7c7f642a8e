//! The text of a query for events. Pure.
//!
//! A row that a snapshot has read (`_op = 'r'`) had arrived when it happened; any other when its source says so. The mapping sees it
//! the same way, so rows come in the order in which the mapping says that they arrived.

use super::Range;
use affluent_features::definition::Source;
use affluent_features::event::DAY;

const OP: &str = "_op";
/// What tells changes of one row and instant apart, in their order.
const ORDER: [&str; 2] = ["_lsn", "_ordinal"];

/// The events of a source in the order of their arrival, with the fields `wanted`; `there` are the columns of its query.
pub(super) fn events(source: &Source, wanted: &[String], there: &[String], range: Range) -> String {
    let has = |name: &str| there.iter().any(|column| column == name);
    let columns: Vec<String> =
        wanted.iter().filter(|name| has(name)).map(|name| format!("e.{}", ident(name))).collect();
    let mut order = vec![arrival(source, has(OP)), format!("e.{}", ident(&source.event_time))];
    order.extend(ORDER.iter().filter(|name| has(name)).map(|name| format!("e.{}", ident(name))));
    format!(
        "select {} from ({}) as e where {} order by {}",
        columns.join(", "),
        query(source),
        within(source, has(OP), range),
        order.join(", ")
    )
}

/// Days since 1970 with the number of events that arrived then.
pub(super) fn days(source: &Source, there: &[String], range: Range) -> String {
    let has_op = there.iter().any(|column| column == OP);
    let arrival = arrival(source, has_op);
    format!(
        "select cast(arrow_cast({arrival}, 'Timestamp(Microsecond, Some(\"+00:00\"))') as bigint) / {DAY} as day, \
         count(*) as events from ({}) as e where {} group by 1",
        query(source),
        within(source, has_op, range)
    )
}

/// A literal of a time in microseconds UTC.
pub(crate) fn instant(micros: i64) -> String {
    format!("arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"+00:00\"))')")
}

/// When a row could be known.
fn arrival(source: &Source, has_op: bool) -> String {
    let (time, arrived) = (ident(&source.event_time), ident(&source.arrival_time));
    match has_op {
        true => format!("case when e.{OP} = 'r' then e.{time} else e.{arrived} end"),
        false => format!("e.{arrived}"),
    }
}

/// Rows of the range. No event happens later than a day after its arrival, so arrival bounds its time as well; as bounds of plain
/// columns, so that files and row groups can be left out by them.
fn within(source: &Source, has_op: bool, range: Range) -> String {
    let between = |column: &str| {
        let column = ident(column);
        let (since, until) = (instant(range.since.saturating_sub(DAY)), instant(range.until));
        format!("e.{column} > {since} and e.{column} <= {until}")
    };
    match has_op {
        true => format!(
            "(e.{OP} <> 'r' and {} or e.{OP} = 'r' and {})",
            between(&source.arrival_time),
            between(&source.event_time)
        ),
        false => format!("({})", between(&source.arrival_time)),
    }
}

fn query(source: &Source) -> &str {
    source.query.as_deref().unwrap_or_default()
}

/// A name in quotes.
fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
