//! Whether documents valid under one JSON Schema are valid under another, by Confluent's rules.
//!
//! What matters most for objects is the content model: an *open* one takes any further property,
//! a *closed* one (`additionalProperties: false`) none, a *partially open* one those of a schema.
//! A property may be added only where the old model was not open (there might be documents with
//! anything under its name), and removed only where the new one takes it still.
//!
//! A schema is seen as the list of all that it demands: its own keywords (`json_keywords`), each
//! schema of `allOf`, each `anyOf` or `oneOf` as a whole, `not`. Each new demand must follow from an
//! old one. That may refuse what only several old demands together imply; it never lets through what
//! it judges. Not judged: `if`/`then`/`else`, `dependencies`, `propertyNames`, `contains`, `format`;
//! `patternProperties` are compared by the pattern's text.

use super::json_keywords as keywords;
use crate::registry::schema::Named;
use serde_json::{Map, Value as Json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const MAX_DEPTH: usize = 64;
/// Comparisons of two schemas in one check; more than this is an attack or a mistake.
const MAX_STEPS: usize = 100_000;
/// Comparisons inside comparisons: `$ref`s may lead through two schemas in long circles.
const MAX_NESTED: usize = 300;
/// `allOf` in `allOf`.
const MAX_ALL_OF: usize = 16;

/// A JSON Schema with the documents that it refers to.
#[derive(Debug, Clone)]
pub(in crate::registry) struct JsonSchema {
    root: Arc<Json>,
    /// By the name under which `$ref` finds it, and by its `$id`.
    documents: HashMap<String, Arc<Json>>,
}

impl JsonSchema {
    /// Parses a schema; says what is wrong with it.
    pub(in crate::registry) fn parse(text: &str, references: &[Named]) -> Result<Self, String> {
        let mut documents = HashMap::new();
        for Named { name, text } in references {
            let document: Arc<Json> =
                Arc::new(serde_json::from_str(text).map_err(|error| format!("reference {name}: {error}"))?);
            if let Some(id) = document.get("$id").and_then(Json::as_str) {
                documents.insert(id.to_owned(), Arc::clone(&document));
            }
            documents.insert(name.clone(), document);
        }
        let root: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let schema = JsonSchema { root: Arc::new(root), documents };
        schema.validate(schema.root(), "#", 0)?;
        Ok(schema)
    }

    pub(super) fn root(&self) -> Place<'_> {
        Place { schema: &self.root, document: &self.root }
    }

    /// The schema that a chain of `$ref`s leads to.
    pub(super) fn resolve<'a>(&'a self, mut place: Place<'a>) -> Result<Place<'a>, String> {
        for _ in 0..MAX_DEPTH {
            let Some(reference) = place.schema.get("$ref").and_then(Json::as_str) else { return Ok(place) };
            let (document, pointer) = reference.split_once('#').unwrap_or((reference, ""));
            let own = place.document.get("$id").and_then(Json::as_str);
            let document: &Json = if document.is_empty() || own == Some(document) {
                place.document
            } else {
                self.documents.get(document).ok_or_else(|| format!("$ref {reference} names no reference"))?
            };
            let found = document.pointer(pointer);
            let schema = found.ok_or_else(|| format!("$ref {reference} leads nowhere"))?;
            place = Place { schema, document };
        }
        Err("$ref leads in a circle".to_owned())
    }

    fn validate(&self, place: Place<'_>, path: &str, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("the schema is nested too deeply".to_owned());
        }
        let Json::Object(object) = place.schema else {
            let is_schema = place.schema.is_boolean();
            return if is_schema { Ok(()) } else { Err(format!("{path}: not a schema: {}", place.schema)) };
        };
        self.resolve(place).map_err(|problem| format!("{path}: {problem}"))?;
        keywords::validate(object).map_err(|problem| format!("{path}: {problem}"))?;
        for (name, schema) in keywords::children(object) {
            let place = Place { schema, document: place.document };
            self.validate(place, &format!("{path}/{name}"), depth + 1)?;
        }
        Ok(())
    }
}

/// A schema and the document it stands in, which its `$ref`s count from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Json,
    document: &'a Json,
}

impl<'a> Place<'a> {
    pub(super) fn of(self, schema: &'a Json) -> Place<'a> {
        Place { schema, ..self }
    }

    /// The schema under a keyword.
    pub(super) fn get(self, keyword: &str) -> Option<Place<'a>> {
        self.schema.get(keyword).map(|schema| self.of(schema))
    }

    pub(super) fn object(self) -> Option<&'a Map<String, Json>> {
        self.schema.as_object()
    }
}

/// What keeps documents of `writer` from being valid under `reader`.
pub(super) fn problems(writer: &JsonSchema, reader: &JsonSchema) -> Vec<String> {
    let mut check = Check { writer, reader, compared: HashSet::new(), steps: 0, nested: 0 };
    match check.compare(writer.root(), reader.root(), "#") {
        Ok(()) => Vec::new(),
        Err(problems) => problems,
    }
}

/// Nothing, or all that does not fit.
pub(super) type Outcome = Result<(), Vec<String>>;

pub(super) struct Check<'a> {
    writer: &'a JsonSchema,
    reader: &'a JsonSchema,
    /// Pairs under comparison, by address; they fit where they recur.
    compared: HashSet<(*const Json, *const Json)>,
    steps: usize,
    nested: usize,
}

/// One of the things that a schema demands.
enum Demand<'a> {
    Keywords(Place<'a>),
    /// `anyOf` or `oneOf`, in the place where it stands.
    AnyOf(Place<'a>, Vec<&'a Json>),
    Not(Place<'a>),
}

impl<'a> Check<'a> {
    /// Whether all that `from` lets through passes `to`.
    pub(super) fn compare(&mut self, from: Place<'a>, to: Place<'a>, path: &str) -> Outcome {
        let problem = |problem: String| vec![format!("{path}: {problem}")];
        let from = self.writer.resolve(from).map_err(problem)?;
        let to = self.reader.resolve(to).map_err(problem)?;
        if from.schema == &Json::Bool(false) || keywords::is_empty(to.schema) {
            return Ok(());
        }
        let pair = (std::ptr::from_ref(from.schema), std::ptr::from_ref(to.schema));
        if !self.compared.insert(pair) {
            return Ok(());
        }
        let mut problems = Vec::new();
        for demand in demands(to, self.reader, 0) {
            problems.extend(self.implied(from, &demand, path).err().into_iter().flatten());
        }
        self.compared.remove(&pair);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Whether one of the demands of `from` implies `demand`.
    fn implied(&mut self, from: Place<'a>, demand: &Demand<'a>, path: &str) -> Outcome {
        if from.schema == &Json::Bool(false) {
            return Ok(());
        }
        self.steps += 1;
        if self.steps > MAX_STEPS || self.nested >= MAX_NESTED {
            return Err(vec!["the schemas are too large to compare".to_owned()]);
        }
        self.nested += 1;
        let outcome = self.implied_by_one(from, demand, path);
        self.nested -= 1;
        outcome
    }

    fn implied_by_one(&mut self, from: Place<'a>, demand: &Demand<'a>, path: &str) -> Outcome {
        let mut first = None;
        for other in demands(from, self.writer, 0) {
            match self.follows(&other, demand, path) {
                Ok(()) => return Ok(()),
                Err(problems) => {
                    first.get_or_insert(problems);
                }
            }
        }
        Err(first.unwrap_or_else(|| vec![format!("{path}: a schema was added where anything was allowed")]))
    }

    fn follows(&mut self, from: &Demand<'a>, to: &Demand<'a>, path: &str) -> Outcome {
        match (from, to) {
            (Demand::Keywords(from), Demand::Keywords(to)) => keywords::compare(self, *from, *to, path),
            (Demand::AnyOf(place, branches), to) => branches.iter().try_for_each(|branch| {
                let branch = self.writer.resolve(place.of(branch)).map_err(|problem| vec![problem])?;
                self.implied(branch, to, path)
            }),
            (Demand::Keywords(from), Demand::AnyOf(place, branches)) => {
                if branches.iter().any(|branch| self.compare(*from, place.of(branch), path).is_ok()) {
                    Ok(())
                } else {
                    Err(vec![format!("{path}: no schema of the new `anyOf` or `oneOf` takes all of the old")])
                }
            }
            (Demand::Not(from), Demand::Not(to)) => {
                // Reversed: what the new one excludes, the old one must have excluded.
                let (writer, reader) = (self.reader, self.writer);
                let mut reversed = Check {
                    writer,
                    reader,
                    compared: HashSet::new(),
                    steps: self.steps,
                    nested: self.nested,
                };
                let outcome = reversed.compare(*to, *from, path);
                self.steps = reversed.steps;
                outcome.map_err(|_| vec![format!("{path}: `not` excludes more than before")])
            }
            (Demand::Keywords(_), Demand::Not(_)) => Err(vec![format!("{path}: `not` was added")]),
            (Demand::Not(_), Demand::Keywords(_) | Demand::AnyOf(..)) => {
                Err(vec![format!("{path}: the kind of schema changes")])
            }
        }
    }
}

/// What a resolved schema demands; of one that takes anything, nothing.
fn demands<'a>(place: Place<'a>, schema: &'a JsonSchema, depth: usize) -> Vec<Demand<'a>> {
    let mut found = Vec::new();
    let Some(object) = place.object().filter(|_| depth < MAX_ALL_OF) else { return found };
    if keywords::has_own(object) {
        found.push(Demand::Keywords(place));
    }
    let branches = |keyword: &str| object.get(keyword).and_then(Json::as_array);
    for branch in branches("allOf").into_iter().flatten() {
        if let Ok(branch) = schema.resolve(place.of(branch)) {
            found.extend(demands(branch, schema, depth + 1));
        }
    }
    for keyword in ["anyOf", "oneOf"] {
        found.extend(branches(keyword).map(|branches| Demand::AnyOf(place, branches.iter().collect())));
    }
    found.extend(place.get("not").map(Demand::Not));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(from: &Json, to: &Json) -> Vec<String> {
        let parse = |json: &Json| JsonSchema::parse(&json.to_string(), &[]).unwrap();
        problems(&parse(from), &parse(to))
    }

    fn open(properties: Json) -> Json {
        json!({"type": "object", "properties": properties})
    }

    fn closed(properties: Json) -> Json {
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    }

    #[test]
    fn follows_confluents_rules() {
        let (text, int) = (json!({"type": "string"}), json!({"type": "integer"}));
        let number = json!({"type": "number"});
        let required = |mut schema: Json, name: &str| {
            schema["required"] = json!([name]);
            schema
        };
        let with = |key: &str, value: Json, mut schema: Json| {
            schema[key] = value;
            schema
        };
        let partial = |properties: Json, rest: &Json| json!({"type": "object", "properties": properties, "additionalProperties": rest});
        for (from, to, problem) in [
            // The content model.
            (open(json!({})), open(json!({"a": text})), Some("#/properties/a: a property was added")),
            (open(json!({})), open(json!({"a": {}})), None),
            (open(json!({"a": text})), open(json!({})), None),
            (closed(json!({})), closed(json!({"a": text})), None),
            (closed(json!({"a": text})), closed(json!({})), Some("#/properties/a: a property was removed")),
            (closed(json!({"a": false})), closed(json!({})), None),
            (
                closed(json!({})),
                required(closed(json!({"a": text})), "a"),
                Some("required property was added"),
            ),
            (closed(json!({})), required(closed(json!({"a": {"type": "string", "default": ""}})), "a"), None),
            (closed(json!({})), open(json!({})), None),
            (open(json!({})), closed(json!({})), Some("no longer allowed")),
            (partial(json!({}), &int), partial(json!({"a": number}), &int), None),
            (partial(json!({}), &int), partial(json!({"a": text}), &int), Some("type integer is gone")),
            (partial(json!({"a": int}), &int), partial(json!({}), &number), None),
            (partial(json!({"a": text}), &int), partial(json!({}), &int), Some("type string is gone")),
            // Required.
            (open(json!({"a": text})), required(open(json!({"a": text})), "a"), Some("became required")),
            (required(open(json!({"a": text})), "a"), open(json!({"a": text})), None),
            // Types.
            (int.clone(), number.clone(), None),
            (number.clone(), int.clone(), Some("#: type number is gone")),
            (text.clone(), int.clone(), Some("type string is gone")),
            (text.clone(), json!({"type": ["string", "null"]}), None),
            (json!({"type": ["string", "null"]}), text.clone(), Some("type null is gone")),
            (text.clone(), json!({}), None),
            (text.clone(), json!(true), None),
            (json!({}), text.clone(), Some("#: a schema was added")),
            (json!(false), text.clone(), None),
            // Values.
            (json!({"enum": ["a"]}), json!({"enum": ["a", "b"]}), None),
            (json!({"enum": ["a", "b"]}), json!({"enum": ["a"]}), Some("value \"b\" is gone")),
            (text.clone(), json!({"type": "string", "enum": ["a"]}), Some("limited to certain values")),
            (json!({"enum": ["a"]}), text.clone(), None),
            (json!({"const": 1}), json!({"enum": [1, 2]}), None),
            // Limits.
            (with("maxLength", json!(5), text.clone()), with("maxLength", json!(6), text.clone()), None),
            (
                with("maxLength", json!(5), text.clone()),
                with("maxLength", json!(4), text.clone()),
                Some("maxLength"),
            ),
            (text.clone(), with("pattern", json!("x"), text.clone()), Some("pattern")),
            (with("minimum", json!(5), int.clone()), with("minimum", json!(4), int.clone()), None),
            (int.clone(), with("minimum", json!(4), int.clone()), Some("minimum")),
            (with("multipleOf", json!(4), int.clone()), with("multipleOf", json!(2), int.clone()), None),
            (
                with("multipleOf", json!(2), int.clone()),
                with("multipleOf", json!(4), int.clone()),
                Some("multipleOf"),
            ),
            // Arrays.
            (json!({"type": "array", "items": int}), json!({"type": "array", "items": number}), None),
            (
                json!({"type": "array", "items": number}),
                json!({"type": "array", "items": int}),
                Some("#/items: type number is gone"),
            ),
            (json!({"type": "array"}), json!({"type": "array", "uniqueItems": true}), Some("uniqueItems")),
            // Combinations.
            (text.clone(), json!({"anyOf": [int, text]}), None),
            (text.clone(), json!({"oneOf": [int, {"type": "null"}]}), Some("no schema of the new")),
            (json!({"anyOf": [int, text]}), text.clone(), Some("type integer is gone")),
            (json!({"anyOf": [int, text]}), json!({"anyOf": [text, number]}), None),
            (json!({"allOf": [text, {"maxLength": 3}]}), text.clone(), None),
            (text.clone(), json!({"allOf": [text, {"maxLength": 3}]}), Some("maxLength")),
            (json!({"not": text}), json!({"not": text}), None),
            (text.clone(), json!({"type": "string", "not": {"const": "a"}}), Some("`not` was added")),
        ] {
            let found = found(&from, &to);
            match problem {
                None => assert_eq!(found, Vec::<String>::new(), "{from} -> {to}"),
                Some(words) => assert!(
                    !found.is_empty() && found[0].contains(words),
                    "{from} -> {to}: {words}: {found:?}"
                ),
            }
        }
    }

    #[test]
    fn references_are_followed() {
        let list = |t: &str| {
            json!({
                "$ref": "#/$defs/node",
                "$defs": {"node": {"type": "object", "properties": {
                    "value": {"type": t}, "next": {"$ref": "#/$defs/node"}}}},
            })
        };
        assert_eq!(found(&list("integer"), &list("number")), Vec::<String>::new());
        assert_eq!(found(&list("number"), &list("integer")), ["#/properties/value: type number is gone"]);

        let other =
            |t: &str| [Named { name: "b.json".to_owned(), text: json!({"type": t}).to_string().into() }];
        let text = open(json!({"b": {"$ref": "b.json"}})).to_string();
        let parse = |t: &str| JsonSchema::parse(&text, &other(t)).unwrap();
        assert_eq!(problems(&parse("integer"), &parse("number")), Vec::<String>::new());
        assert_eq!(problems(&parse("string"), &parse("number")).len(), 1);
        assert!(JsonSchema::parse(&text, &[]).is_err(), "a reference that nobody gave");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in [
            "1",
            "{",
            "[]",
            r#"{"type":"text"}"#,
            r#"{"properties":[]}"#,
            r#"{"required":"a"}"#,
            r##"{"$ref":"#/nowhere"}"##,
            r#"{"properties":{"a":1}}"#,
            r##"{"$ref":"#"}"##,
        ] {
            assert!(JsonSchema::parse(text, &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn circles_end() {
        let circle = json!({"allOf": [{"$ref": "#"}], "type": "object"});
        assert_eq!(found(&circle, &circle), Vec::<String>::new());
        let choice = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
        assert!(!found(&choice, &json!({"type": "string"})).is_empty());
        let ring = |length: usize| {
            let node = |n: usize| {
                let next = format!("#/$defs/n{}", (n + 1) % length);
                (format!("n{n}"), json!({"type": "object", "properties": {"a": {"$ref": next}}}))
            };
            json!({"$ref": "#/$defs/n0", "$defs": (0..length).map(node).collect::<Map<_, _>>()})
        };
        assert_eq!(found(&ring(7), &ring(11)), Vec::<String>::new());
        // Longer than it is followed: refused rather than guessed.
        assert!(!found(&ring(100), &ring(101)).is_empty());
        let wide = |t: &str| {
            let branch = json!({"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"type": t}}});
            json!({"anyOf": [branch, branch, branch, branch]})
        };
        assert_eq!(found(&wide("string"), &wide("string")), Vec::<String>::new());
        assert!(!found(&wide("string"), &wide("integer")).is_empty());
    }
}
