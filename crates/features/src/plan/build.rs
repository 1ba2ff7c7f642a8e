//! The making of a plan: groups, their edges and windows, what is kept, and the readers; each thing once, however many need it.

use super::{Bounds, Edge, EntityId, EntityShape, FILTERS_MAX, Group, KEPT_MAX, Place, Plan, PlanError};
use super::{Ratio, Read, Reader, Side, SourceId, SourceShape, layout_digest};
use crate::aggregate::{HEADER, Keep, Shape, Step};
use crate::definition::{Aggregate, Compute, Definitions, Feature, Filter, Source, Span, Window};
use std::collections::BTreeMap;

/// Plans all definitions.
pub(super) fn plan(definitions: &Definitions) -> Result<Plan, PlanError> {
    let sources: Vec<&Source> = definitions.sources.values().collect();
    let source_of = |name: &str| sources.iter().position(|source| source.name == name);
    let mut shapes: Vec<SourceShape> = sources.iter().map(|source| shape_of(source)).collect();
    let mut entities: Vec<EntityShape> = Vec::new();
    let mut drafts: BTreeMap<(usize, usize), Draft> = BTreeMap::new();
    for feature in &definitions.features {
        let default = feature.default.unwrap_or(f64::NAN);
        if let Compute::Request { source, request } = &feature.compute {
            if let Some(source) = source_of(source) {
                shapes[source].requests.push((request.clone(), default));
                shapes[source].row.push(feature.name.clone());
            }
            continue;
        }
        let entity = entities.iter().position(|e| e.name == feature.entity).unwrap_or_else(|| {
            let (name, features, groups, ratios) = (feature.entity.clone(), vec![], vec![], vec![]);
            entities.push(EntityShape { name, features, groups, ratios });
            entities.len() - 1
        });
        let place = entities[entity].features.len();
        entities[entity].features.push((feature.name.clone(), feature.version));
        let Compute::Window { source, filter, window, aggregate } = &feature.compute else { continue };
        let Some(source) = source_of(source) else { continue };
        let draft = drafts.entry((entity, source)).or_insert_with(|| Draft::new(sources[source]));
        let read = draft.read(&mut shapes[source].filters, filter, *window, aggregate)?;
        draft.readers.push(Reader { place, default, read });
    }
    ratios(&mut entities, &definitions.features);
    let mut groups = Vec::new();
    for ((entity, source), draft) in drafts {
        let Some(key) = sources[source].entity(&entities[entity].name) else { continue };
        entities[entity].groups.push(groups.len());
        shapes[source].groups.push((groups.len(), key));
        groups.push(draft.finish(EntityId(entity), SourceId(source), &entities[entity].name)?);
    }
    // Digests last: a source's filters are complete now.
    for group in &mut groups {
        let source = group.source.0;
        let entity = &entities[group.entity.0].name;
        group.digest = layout_digest(entity, sources[source], group, &shapes[source].filters);
    }
    for shape in &mut shapes {
        let keys: Vec<String> = shape.entities.iter().map(|(entity, _)| entity.clone()).collect();
        for (key, name) in keys.iter().enumerate() {
            let Some(entity) = entities.iter().position(|e| e.name == *name) else { continue };
            shape.parts.push((EntityId(entity), key));
            shape.row.extend(entities[entity].features.iter().map(|(name, _)| name.clone()));
        }
    }
    Ok(Plan { sources: shapes, entities, groups })
}

fn shape_of(source: &Source) -> SourceShape {
    SourceShape {
        name: source.name.clone(),
        columns: source.columns.clone(),
        entities: source.entities.clone(),
        requests: Vec::new(),
        filters: Vec::new(),
        groups: Vec::new(),
        parts: Vec::new(),
        row: Vec::new(),
    }
}

fn ratios(entities: &mut [EntityShape], features: &[Feature]) {
    for entity in entities {
        let place_of = |name: &str| entity.features.iter().position(|(feature, _)| feature == name);
        let mut found = Vec::new();
        for feature in features.iter().filter(|feature| feature.entity == entity.name) {
            let Compute::Ratio { of, to } = &feature.compute else { continue };
            if let (Some(place), Some(of), Some(to)) = (place_of(&feature.name), place_of(of), place_of(to)) {
                found.push(Ratio { place, of, to, default: feature.default.unwrap_or(f64::NAN) });
            }
        }
        entity.ratios = found;
    }
}

/// A group while its features are gone through.
struct Draft<'a> {
    source: &'a Source,
    columns: Vec<usize>,
    windows: Vec<(Window, Vec<Step>)>,
    shape: Shape,
    readers: Vec<Reader>,
}

impl<'a> Draft<'a> {
    fn new(source: &'a Source) -> Self {
        let (columns, windows, readers) = (Vec::new(), Vec::new(), Vec::new());
        Draft { source, columns, windows, shape: Shape::default(), readers }
    }

    /// Keeps what an aggregate needs and tells how to read it.
    fn read(
        &mut self,
        filters: &mut Vec<Filter>,
        filter: &Filter,
        window: Window,
        aggregate: &Aggregate,
    ) -> Result<Read, PlanError> {
        let bit = self.filter(filters, filter)?;
        let number = position_or_push(&mut self.windows, |(w, _)| *w == window, || (window, Vec::new()));
        let places = |column: usize| self.source.columns[column].kind.places();
        let sum = |draft: &mut Self, column: u16| draft.keep(number, bit, Keep::Sum { at: 0, column });
        Ok(match aggregate {
            Aggregate::Count => Read::Count { at: self.keep(number, bit, Keep::Count { at: 0 }) },
            Aggregate::Rate => Read::Rate {
                at: self.keep(number, bit, Keep::Count { at: 0 }),
                hours: window.hours().unwrap_or(f64::NAN),
            },
            Aggregate::Sum(c) => {
                let (places, column) = (places(*c), self.column(*c));
                Read::Sum { at: sum(self, column), places }
            }
            Aggregate::Mean(c) | Aggregate::RiskRate(c) => {
                let (places, column) = (places(*c), self.column(*c));
                Read::Mean { at: sum(self, column), places }
            }
            Aggregate::StdDev(c) => {
                let (places, column) = (places(*c), self.column(*c));
                let squares = self.keep(number, bit, Keep::Squares { at: 0, column });
                Read::Deviation { sum: sum(self, column), squares, places }
            }
            Aggregate::Min(c) | Aggregate::Max(c) => {
                let (places, column) = (places(*c), self.column(*c));
                let maximum = matches!(aggregate, Aggregate::Max(_));
                Read::Extreme { at: self.extreme(number, bit, column, maximum), places }
            }
            Aggregate::Distinct(c) => {
                let column = self.column(*c);
                Read::Distinct { at: self.keep(number, bit, Keep::Distinct { at: 0, column }) }
            }
            Aggregate::Entropy(c) => Read::Entropy { at: self.categories(number, bit, *c).0 },
            Aggregate::ShareSame(c) => {
                let (at, column) = self.categories(number, bit, *c);
                Read::ShareSame { at, column }
            }
            Aggregate::IsNew(c) => {
                let (at, column) = self.categories(number, bit, *c);
                Read::IsNew { at, column }
            }
            Aggregate::Share(part) => {
                let both = self.filter(filters, &filter.clone().and(part.clone()))?;
                let all = self.keep(number, bit, Keep::Count { at: 0 });
                Read::Share { of: self.keep(number, both, Keep::Count { at: 0 }), all }
            }
            Aggregate::ToMean(c) => {
                let column = self.column(*c);
                Read::ToMean { at: sum(self, column), column: column.into() }
            }
            Aggregate::ZScore(c) => {
                let column = self.column(*c);
                let squares = self.keep(number, bit, Keep::Squares { at: 0, column });
                Read::ZScore { sum: sum(self, column), squares, column: column.into() }
            }
            Aggregate::Last(c, nth) => {
                let (places, column) = (places(*c), self.column(*c).into());
                Read::Last { window: number, filter: bit, column, nth: *nth, places }
            }
            Aggregate::First(c, nth) => {
                let (places, column) = (places(*c), self.column(*c).into());
                Read::First { window: number, filter: bit, column, nth: *nth, places }
            }
            Aggregate::SinceLast => Read::SinceLast { window: number, filter: bit },
            Aggregate::Duration => Read::Duration { window: number, filter: bit },
            Aggregate::Speed(lat, lon) => {
                let (latitude, longitude) = (self.column(*lat).into(), self.column(*lon).into());
                Read::Speed { window: number, filter: bit, latitude, longitude }
            }
        })
    }

    /// The bit of a filter: 0 for none.
    fn filter(&self, filters: &mut Vec<Filter>, filter: &Filter) -> Result<u8, PlanError> {
        if *filter == Filter::All {
            return Ok(0);
        }
        let index = position_or_push(filters, |f| f == filter, || filter.clone());
        let bit = u8::try_from(index + 1).ok().filter(|&bit| usize::from(bit) <= FILTERS_MAX);
        bit.ok_or_else(|| PlanError::Filters(self.source.name.clone()))
    }

    /// The place of a source's column in a row.
    fn column(&mut self, column: usize) -> u16 {
        let index = position_or_push(&mut self.columns, |&c| c == column, || column);
        // A source has at most 256 columns.
        u16::try_from(HEADER + index).unwrap_or(u16::MAX)
    }

    fn categories(&mut self, window: usize, filter: u8, column: usize) -> (usize, usize) {
        let column = self.column(column);
        (self.keep(window, filter, Keep::Categories { at: 0, column }), column.into())
    }

    /// Keeps something of a window, if it is not kept already; its place among its kind.
    fn keep(&mut self, window: usize, filter: u8, wanted: Keep) -> usize {
        let steps = &mut self.windows[window].1;
        let known = steps.iter().find(|step| step.filter == filter && placed(step.keep, 0) == wanted);
        if let Some(step) = known {
            return place(step.keep);
        }
        let count = match wanted {
            Keep::Count { .. } => &mut self.shape.counts,
            Keep::Sum { .. } => &mut self.shape.sums,
            Keep::Squares { .. } => &mut self.shape.squares,
            Keep::Categories { .. } => &mut self.shape.categories,
            Keep::Distinct { .. } => &mut self.shape.distincts,
            Keep::Extreme { .. } => return self.extreme(window, filter, column_of(wanted), true),
        };
        steps.push(Step { filter, keep: placed(wanted, *count) });
        *count += 1;
        *count - 1
    }

    fn extreme(&mut self, window: usize, filter: u8, column: u16, maximum: bool) -> usize {
        let (steps, extremes) = (&mut self.windows[window].1, &mut self.shape.extremes);
        let known = steps.iter().find(|step| match step.keep {
            Keep::Extreme { at, column: c } => {
                step.filter == filter && c == column && extremes[usize::from(at)] == maximum
            }
            Keep::Count { .. }
            | Keep::Sum { .. }
            | Keep::Squares { .. }
            | Keep::Categories { .. }
            | Keep::Distinct { .. } => false,
        });
        if let Some(step) = known {
            return place(step.keep);
        }
        extremes.push(maximum);
        let at = extremes.len() - 1;
        steps.push(Step { filter, keep: placed(Keep::Extreme { at: 0, column }, at) });
        at
    }

    /// Edges and pointers of all windows.
    fn finish(self, entity: EntityId, source: SourceId, entity_name: &str) -> Result<Group, PlanError> {
        let shape = &self.shape;
        let most = [shape.counts, shape.sums, shape.squares, shape.extremes.len(), shape.categories];
        if most.into_iter().chain([shape.distincts, self.windows.len()]).any(|count| count > KEPT_MAX) {
            let source_name = self.source.name.clone();
            return Err(PlanError::Kept { entity: entity_name.to_owned(), source_name });
        }
        let mut places = vec![Place::Current];
        for (window, _) in &self.windows {
            places.push(upper(window));
            places.extend(lower(window));
        }
        places.sort_unstable();
        places.dedup();
        let mut edges: Vec<Edge> = places.iter().map(|&place| Edge { place, steps: Vec::new() }).collect();
        let edge_of = |place: Place| places.binary_search(&place).unwrap_or(0);
        let mut windows = Vec::new();
        let mut sessions = 0;
        for (window, steps) in self.windows {
            let last = edge_of(upper(&window));
            let Some(first) = lower(&window) else {
                let Span::Session(gap) = window.span else { continue };
                let pointer = edges.len() + sessions;
                windows.push(Bounds { lower: pointer, upper: last, session: Some(gap), steps });
                sessions += 1;
                continue;
            };
            let first = edge_of(first);
            edges[last].steps.extend(steps.iter().map(|&step| (Side::Upper, step)));
            edges[first].steps.extend(steps.iter().map(|&step| (Side::Lower, step)));
            windows.push(Bounds { lower: first, upper: last, session: None, steps });
        }
        let reach = places.iter().map(|place| match place {
            Place::Current | Place::Before => 0,
            Place::Ago(length) => *length,
            Place::Day(length) => length + crate::event::DAY,
        });
        let session = windows.iter().any(|window| window.session.is_some());
        let retention =
            reach.max().unwrap_or(0).max(if session { crate::definition::SESSION_MAX } else { 0 });
        let corrections = self.source.corrections;
        let stride = HEADER + self.columns.len() + usize::from(corrections);
        let (columns, lateness, readers, shape) =
            (self.columns, self.source.lateness, self.readers, self.shape);
        let digest = [0; 16];
        let scan_max = (running_words(&shape, edges.len()) / stride).clamp(8, 64);
        Ok(Group {
            entity,
            source,
            lateness,
            retention,
            columns,
            corrections,
            stride,
            edges,
            windows,
            shape,
            readers,
            scan_max,
            digest,
        })
    }
}

/// About how many words of memory windows take that are kept running: maps and queues with a few values each.
fn running_words(shape: &Shape, edges: usize) -> usize {
    let plain = 16 + (edges + shape.counts).div_ceil(2) + 4 * shape.sums + 2 * shape.squares;
    plain + 16 * shape.extremes.len() + 48 * (shape.categories + shape.distincts)
}

fn upper(window: &Window) -> Place {
    match (window.delay, window.current) {
        (0, true) => Place::Current,
        (0, false) => Place::Before,
        (delay, _) => Place::Ago(delay),
    }
}

/// None for sessions.
fn lower(window: &Window) -> Option<Place> {
    match window.span {
        Span::Sliding(length) => Some(Place::Ago(window.delay + length)),
        Span::CalendarDay => Some(Place::Day(window.delay)),
        Span::Session(_) => None,
    }
}

fn position_or_push<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}

fn place(keep: Keep) -> usize {
    match keep {
        Keep::Count { at }
        | Keep::Sum { at, .. }
        | Keep::Squares { at, .. }
        | Keep::Extreme { at, .. }
        | Keep::Categories { at, .. }
        | Keep::Distinct { at, .. } => at.into(),
    }
}

fn column_of(keep: Keep) -> u16 {
    match keep {
        Keep::Count { .. } => 0,
        Keep::Sum { column, .. }
        | Keep::Squares { column, .. }
        | Keep::Extreme { column, .. }
        | Keep::Categories { column, .. }
        | Keep::Distinct { column, .. } => column,
    }
}

/// The same thing at another place. Places are checked against [`KEPT_MAX`] when the group is finished.
fn placed(keep: Keep, place: usize) -> Keep {
    let at = u16::try_from(place).unwrap_or(u16::MAX);
    match keep {
        Keep::Count { .. } => Keep::Count { at },
        Keep::Sum { column, .. } => Keep::Sum { at, column },
        Keep::Squares { column, .. } => Keep::Squares { at, column },
        Keep::Extreme { column, .. } => Keep::Extreme { at, column },
        Keep::Categories { column, .. } => Keep::Categories { at, column },
        Keep::Distinct { column, .. } => Keep::Distinct { at, column },
    }
}
