//! A stored state as a MongoDB document, and back.
//!
//! Beside the fields: `_id`, `_v` {lsn, ordinal} (absent for documents inserted without a version), `_d`
//! (true: no document is there; tombstones), `_x` (when it expires), `_m` (markers: see
//! [`super::values`]), and for the few documents with columns of their own age `_s` (stamps and
//! departures: see [`crate::convergence`]) with the revision `_r`.

use super::values::{Dialect, Markers, decode, decode_name, encode_name};
use crate::convergence::{Carried, Departed, Stamp, State};
use crate::{Document, Fields};
use affluent_model::Position;
use mongodb::bson::{Bson, DateTime, Document as Bdoc, doc};

/// The document of a state. `revision` is kept only where the state is not plain.
pub(super) fn encode(
    dialect: Dialect,
    id: &str,
    state: &State,
    expires_at: Option<i64>,
    revision: i64,
) -> Bdoc {
    let mut out = doc! { "_id": id };
    if state.version != Position::default() {
        out.insert("_v", position(state.version));
    }
    if !state.live {
        out.insert("_d", true);
    }
    if let Some(at) = expires_at {
        out.insert("_x", DateTime::from_millis(at.div_euclid(1_000)));
    }
    let mut markers = Markers::default();
    for (name, value) in &state.fields {
        let name = encode_name(name);
        let bson = dialect.encode(&name, value, &mut markers);
        out.insert(name.into_owned(), bson);
    }
    insert_markers(&mut out, markers);
    if !state.is_plain() {
        let stamps = state
            .stamps
            .iter()
            .map(|(column, stamp)| Bson::Document(doc! { "column": column, "stamp": stamp_out(stamp) }));
        let departed = state.departed.iter().map(|departed| Bson::Document(departure(dialect, departed)));
        out.insert(
            "_s",
            doc! { "stamps": stamps.collect::<Vec<_>>(), "departed": departed.collect::<Vec<_>>() },
        );
        out.insert("_r", revision);
    }
    out
}

/// The state of a document, and its revision.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode_state(mut stored: Bdoc) -> Result<(State, i64), String> {
    let revision = stored.get_i64("_r").unwrap_or(0);
    let version = stored.get_document("_v").map_or(Ok(Position::default()), position_in)?;
    let live = !stored.get_bool("_d").unwrap_or(false);
    let (mut stamps, mut departed) = (Vec::new(), Vec::new());
    if let Some(Bson::Document(own)) = stored.remove("_s") {
        for entry in documents(&own, "stamps") {
            stamps.push((text(entry, "column")?, stamp_in(entry)?));
        }
        for entry in documents(&own, "departed") {
            departed.push(departed_in(entry)?);
        }
    }
    let fields = fields(stored)?;
    Ok((State { version, live, fields, stamps, departed }, revision))
}

/// The document, unless it is a tombstone.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode_document(stored: Bdoc) -> Result<Option<Document>, String> {
    if stored.get_bool("_d").unwrap_or(false) {
        return Ok(None);
    }
    let id = text(&stored, "_id")?;
    let version = stored.get_document("_v").map_or(Ok(Position::default()), position_in)?;
    Ok(Some(Document { id, version, fields: fields(stored)? }))
}

/// `{lsn, ordinal}`.
pub(super) fn position(position: Position) -> Bdoc {
    doc! { "lsn": position.lsn.0 as i64, "ordinal": position.ordinal as i64 }
}

pub(super) fn position_in(stored: &Bdoc) -> Result<Position, String> {
    let part = |name: &str| stored.get_i64(name).map_err(|error| format!("position: {error}"));
    Ok(Position::new(part("lsn")? as u64, part("ordinal")? as u64))
}

fn fields(mut stored: Bdoc) -> Result<Fields, String> {
    let mut markers = Markers::default();
    if let Some(Bson::Document(mut own)) = stored.remove("_m") {
        let mut take = |name: &str| match own.remove(name) {
            Some(Bson::Document(part)) => part,
            _ => Bdoc::new(),
        };
        markers = Markers { types: take("types"), us: take("us") };
    }
    stored
        .into_iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, bson)| Ok((decode_name(&name), decode(&name, bson, &markers)?)))
        .collect()
}

fn insert_markers(out: &mut Bdoc, markers: Markers) {
    let mut own = Bdoc::new();
    for (name, part) in [("types", markers.types), ("us", markers.us)] {
        if !part.is_empty() {
            own.insert(name, part);
        }
    }
    if !own.is_empty() {
        out.insert("_m", own);
    }
}

fn departure(dialect: Dialect, departed: &Departed) -> Bdoc {
    let columns = departed.columns.iter().map(|carried| {
        let mut out = doc! { "column": &carried.column, "stamp": stamp_out(&carried.stamp) };
        if let Some(value) = &carried.value {
            let mut markers = Markers::default();
            let bson = dialect.encode("value", value, &mut markers);
            out.insert("value", bson);
            insert_markers(&mut out, markers);
        }
        Bson::Document(out)
    });
    doc! { "to": &departed.to, "at": position(departed.at), "columns": columns.collect::<Vec<_>>() }
}

fn departed_in(stored: &Bdoc) -> Result<Departed, String> {
    let at = stored.get_document("at").map_err(|error| error.to_string())?;
    let columns = documents(stored, "columns").map(|entry| {
        let kept = ["value", "_m"].into_iter();
        let own: Bdoc = kept.filter_map(|name| Some((name.to_owned(), entry.get(name)?.clone()))).collect();
        let value = fields(own)?.pop().map(|(_, value)| value);
        Ok(Carried { column: text(entry, "column")?, stamp: stamp_in(entry)?, value })
    });
    Ok(Departed {
        to: text(stored, "to")?,
        at: position_in(at)?,
        columns: columns.collect::<Result<_, String>>()?,
    })
}

fn stamp_out(stamp: &Stamp) -> Vec<Bson> {
    stamp.iter().map(|&at| Bson::Document(position(at))).collect()
}

fn stamp_in(stored: &Bdoc) -> Result<Stamp, String> {
    documents(stored, "stamp").map(position_in).collect()
}

fn documents<'a>(stored: &'a Bdoc, name: &str) -> impl Iterator<Item = &'a Bdoc> {
    stored.get_array(name).into_iter().flatten().filter_map(Bson::as_document)
}

fn text(stored: &Bdoc, name: &str) -> Result<String, String> {
    stored.get_str(name).map(str::to_owned).map_err(|error| format!("{name}: {error}"))
}
