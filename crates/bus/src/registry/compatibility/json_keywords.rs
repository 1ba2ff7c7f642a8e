//! The keywords of JSON Schema, one by one: which are valid, and which demand more than before.

use super::json::{Check, Outcome, Place};
use serde_json::{Map, Value as Json};
use std::cmp::Ordering;

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

/// Keywords that demand something by themselves, with the type that they are about.
const OWN: [(&str, Option<&str>); 23] = [
    ("type", None),
    ("enum", None),
    ("const", None),
    ("properties", Some("object")),
    ("required", Some("object")),
    ("additionalProperties", Some("object")),
    ("patternProperties", Some("object")),
    ("minProperties", Some("object")),
    ("maxProperties", Some("object")),
    ("items", Some("array")),
    ("prefixItems", Some("array")),
    ("additionalItems", Some("array")),
    ("minItems", Some("array")),
    ("maxItems", Some("array")),
    ("uniqueItems", Some("array")),
    ("minLength", Some("string")),
    ("maxLength", Some("string")),
    ("pattern", Some("string")),
    ("minimum", Some("number")),
    ("maximum", Some("number")),
    ("exclusiveMinimum", Some("number")),
    ("exclusiveMaximum", Some("number")),
    ("multipleOf", Some("number")),
];

const COMBINING: [&str; 5] = ["allOf", "anyOf", "oneOf", "not", "$ref"];

/// Whether a schema takes anything.
pub(super) fn is_empty(schema: &Json) -> bool {
    match schema {
        Json::Object(object) => !has_own(object) && !COMBINING.iter().any(|name| object.contains_key(*name)),
        other => *other == Json::Bool(true),
    }
}

pub(super) fn has_own(object: &Map<String, Json>) -> bool {
    OWN.iter().any(|(name, _)| object.contains_key(*name))
}

/// Says which keyword has a value that it cannot have.
pub(super) fn validate(object: &Map<String, Json>) -> Result<(), String> {
    let is_type = |json: &Json| json.as_str().is_some_and(|name| TYPES.contains(&name));
    let texts = |json: &Json| json.as_array().is_some_and(|items| items.iter().all(Json::is_string));
    for (name, value) in object {
        let valid = match name.as_str() {
            "type" => {
                is_type(value) || value.as_array().is_some_and(|t| !t.is_empty() && t.iter().all(is_type))
            }
            "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
            "properties" | "patternProperties" | "$defs" | "definitions" => value.is_object(),
            // Draft 4 has flags on properties that later drafts took away; they demand nothing here.
            "required" => texts(value) || value.is_boolean(),
            "allOf" | "anyOf" | "oneOf" => value.as_array().is_some_and(|schemas| !schemas.is_empty()),
            "$ref" | "$id" | "pattern" => value.is_string(),
            "uniqueItems" => value.is_boolean(),
            "minProperties" | "maxProperties" | "minItems" | "maxItems" | "minLength" | "maxLength" => {
                value.as_f64().is_some_and(|count| count >= 0.0 && count.fract() == 0.0)
            }
            "minimum" | "maximum" => value.is_number(),
            "exclusiveMinimum" | "exclusiveMaximum" => value.is_number() || value.is_boolean(),
            "multipleOf" => value.as_f64().is_some_and(|number| number > 0.0),
            _ => true,
        };
        if !valid {
            return Err(format!("keyword {name} cannot be {value}"));
        }
    }
    Ok(())
}

/// The schemas inside a schema, with where they stand.
pub(super) fn children(object: &Map<String, Json>) -> Vec<(String, &Json)> {
    let mut found = Vec::new();
    for (name, value) in object {
        match (name.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Json::Object(schemas)) => {
                found.extend(schemas.iter().map(|(key, schema)| (format!("{name}/{key}"), schema)));
            }
            ("allOf" | "anyOf" | "oneOf" | "items" | "prefixItems", Json::Array(schemas)) => {
                found.extend(schemas.iter().enumerate().map(|(index, s)| (format!("{name}/{index}"), s)));
            }
            ("not" | "items" | "additionalItems" | "additionalProperties", schema) => {
                found.push((name.clone(), schema));
            }
            _ => {}
        }
    }
    found
}

/// Compares what two schemas demand by keywords of their own.
pub(super) fn compare<'a>(check: &mut Check<'a>, from: Place<'a>, to: Place<'a>, path: &str) -> Outcome {
    let (Some(old), Some(new)) = (from.object(), to.object()) else { return Ok(()) };
    let mut problems: Vec<String> = types(old, new).into_iter().collect();
    if problems.is_empty() {
        problems.extend(values(old, new));
        problems.extend(limits(old, new));
    }
    let mut problems: Vec<String> =
        problems.into_iter().map(|problem| format!("{path}: {problem}")).collect();
    if problems.is_empty() {
        problems.extend(properties(check, from, to, path));
        problems.extend(items(check, from, to, path));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The types that a schema takes; where it does not say, those of its values or of its keywords.
fn types_of(object: &Map<String, Json>) -> Option<Vec<&str>> {
    match object.get("type") {
        Some(Json::String(one)) => return Some(vec![one]),
        Some(Json::Array(several)) => return Some(several.iter().filter_map(Json::as_str).collect()),
        _ => {}
    }
    if let Some(values) = values_of(object) {
        return Some(values.into_iter().map(type_of).collect());
    }
    OWN.iter().find_map(|(name, about)| about.filter(|_| object.contains_key(*name))).map(|about| vec![about])
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn types(old: &Map<String, Json>, new: &Map<String, Json>) -> Option<String> {
    let new = types_of(new)?;
    let Some(old) = types_of(old) else { return Some("a type was added where any was allowed".to_owned()) };
    let takes = |t: &str| new.contains(&t) || t == "integer" && new.contains(&"number");
    let gone = old.iter().find(|t| !takes(t))?;
    Some(format!("type {gone} is gone"))
}

fn values_of(object: &Map<String, Json>) -> Option<Vec<&Json>> {
    match (object.get("const"), object.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Json::Array(values))) => Some(values.iter().collect()),
        (None, _) => None,
    }
}

fn values(old: &Map<String, Json>, new: &Map<String, Json>) -> Option<String> {
    let new = values_of(new)?;
    let Some(old) = values_of(old) else { return Some("it is limited to certain values now".to_owned()) };
    let gone = old.iter().find(|value| !new.contains(value))?;
    Some(format!("value {gone} is gone"))
}

fn limits(old: &Map<String, Json>, new: &Map<String, Json>) -> Vec<String> {
    let mut problems = Vec::new();
    let number = |object: &Map<String, Json>, name: &str| object.get(name).and_then(Json::as_f64);
    let mut limit = |name: &str, widens: Ordering| {
        let Some(after) = number(new, name) else { return };
        match number(old, name) {
            Some(before) if after.partial_cmp(&before).is_some_and(|o| o == widens || o.is_eq()) => {}
            Some(before) => problems.push(format!("{name} changes from {before} to {after}")),
            None => problems.push(format!("{name} was added")),
        }
    };
    for name in ["maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties"] {
        limit(name, Ordering::Greater);
    }
    for name in ["minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties"] {
        limit(name, Ordering::Less);
    }
    match (number(old, "multipleOf"), number(new, "multipleOf")) {
        (Some(before), Some(after)) if before % after != 0.0 => {
            problems.push(format!("multipleOf changes from {before} to {after}"));
        }
        (None, Some(_)) => problems.push("multipleOf was added".to_owned()),
        _ => {}
    }
    if let Some(pattern) = new.get("pattern")
        && old.get("pattern") != Some(pattern)
    {
        problems.push("pattern was added or changes".to_owned());
    }
    let unique = |object: &Map<String, Json>| object.get("uniqueItems") == Some(&Json::Bool(true));
    if unique(new) && !unique(old) {
        problems.push("uniqueItems was added".to_owned());
    }
    for name in ["exclusiveMinimum", "exclusiveMaximum"] {
        let flag = |object: &Map<String, Json>| object.get(name) == Some(&Json::Bool(true));
        if flag(new) && !flag(old) {
            problems.push(format!("{name} was added"));
        }
    }
    problems
}

/// Which further properties a schema takes.
enum Model<'a> {
    Open,
    Partial(Place<'a>),
    Closed,
}

fn model(place: Place<'_>) -> Model<'_> {
    match place.get("additionalProperties") {
        Some(rest) if rest.schema == &Json::Bool(false) => Model::Closed,
        Some(rest) if !is_empty(rest.schema) => Model::Partial(rest),
        _ if place.schema.get("patternProperties").is_some() => {
            // Some names are bound; which ones is not judged, so none counts as free.
            Model::Partial(place.of(&Json::Bool(true)))
        }
        _ => Model::Open,
    }
}

fn properties<'a>(check: &mut Check<'a>, from: Place<'a>, to: Place<'a>, path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let of = |place: Place<'a>, keyword: &str| place.schema.get(keyword).and_then(Json::as_object);
    let required = |place: Place<'_>, name: &str| {
        let names = place.schema.get("required").and_then(Json::as_array);
        names.is_some_and(|names| names.iter().any(|n| n == name))
    };
    let (old, new) = (of(from, "properties"), of(to, "properties"));
    for (name, schema) in old.into_iter().flatten() {
        let path = format!("{path}/properties/{name}");
        let schema = from.of(schema);
        match (new.and_then(|new| new.get(name)), model(to)) {
            (Some(after), _) => {
                problems.extend(check.compare(schema, to.of(after), &path).err().into_iter().flatten());
                if required(to, name) && !required(from, name) && after.get("default").is_none() {
                    problems.push(format!("{path}: the property became required"));
                }
            }
            (None, Model::Open) => {}
            (None, Model::Partial(rest)) => {
                problems.extend(check.compare(schema, rest, &path).err().into_iter().flatten());
            }
            (None, Model::Closed) if schema.schema == &Json::Bool(false) => {}
            (None, Model::Closed) => {
                problems.push(format!("{path}: a property was removed from a closed content model"));
            }
        }
    }
    for (name, schema) in
        new.into_iter().flatten().filter(|(name, _)| old.is_none_or(|o| !o.contains_key(*name)))
    {
        let path = format!("{path}/properties/{name}");
        match model(from) {
            Model::Open if is_empty(schema) => {}
            Model::Open => {
                problems.push(format!("{path}: a property was added to an open content model"));
                continue;
            }
            Model::Partial(rest) => {
                problems.extend(check.compare(rest, to.of(schema), &path).err().into_iter().flatten());
            }
            Model::Closed => {}
        }
        if required(to, name) && schema.get("default").is_none() {
            problems.push(format!("{path}: a required property was added"));
        }
    }
    let rest = format!("{path}/additionalProperties");
    match (model(from), model(to)) {
        (_, Model::Open) | (Model::Closed, Model::Partial(_) | Model::Closed) => {}
        (Model::Open, Model::Partial(after)) if is_empty(after.schema) => {}
        (Model::Open, Model::Partial(_)) => {
            problems.push(format!("{rest}: further properties are limited to a schema now"));
        }
        (Model::Open | Model::Partial(_), Model::Closed) => {
            problems.push(format!("{rest}: further properties are no longer allowed"));
        }
        (Model::Partial(before), Model::Partial(after)) => {
            problems.extend(check.compare(before, after, &rest).err().into_iter().flatten());
        }
    }
    let (old, new) = (of(from, "patternProperties"), of(to, "patternProperties"));
    for (pattern, schema) in new.into_iter().flatten() {
        let path = format!("{path}/patternProperties/{pattern}");
        match old.and_then(|old| old.get(pattern)) {
            Some(before) => {
                problems
                    .extend(check.compare(from.of(before), to.of(schema), &path).err().into_iter().flatten());
            }
            None if is_empty(schema) || matches!(model(from), Model::Closed) => {}
            None => problems.push(format!("{path}: a pattern was added")),
        }
    }
    problems
}

/// The schemas of the first items, and the schema of all others.
fn tuple(place: Place<'_>) -> (&[Json], Option<Place<'_>>) {
    match (place.schema.get("prefixItems"), place.schema.get("items")) {
        (Some(Json::Array(first)), _) => (first, place.get("items")),
        (_, Some(Json::Array(first))) => (first, place.get("additionalItems")),
        _ => (&[], place.get("items")),
    }
}

fn items<'a>(check: &mut Check<'a>, from: Place<'a>, to: Place<'a>, path: &str) -> Vec<String> {
    const ANY: &Json = &Json::Bool(true);
    let mut problems = Vec::new();
    let ((old, old_rest), (new, new_rest)) = (tuple(from), tuple(to));
    let (old_rest, new_rest) = (old_rest.unwrap_or(from.of(ANY)), new_rest.unwrap_or(to.of(ANY)));
    for index in 0..old.len().max(new.len()) {
        let before = old.get(index).map_or(old_rest, |schema| from.of(schema));
        let after = new.get(index).map_or(new_rest, |schema| to.of(schema));
        let path = format!("{path}/items/{index}");
        problems.extend(check.compare(before, after, &path).err().into_iter().flatten());
    }
    let path = format!("{path}/items");
    problems.extend(check.compare(old_rest, new_rest, &path).err().into_iter().flatten());
    problems
}
