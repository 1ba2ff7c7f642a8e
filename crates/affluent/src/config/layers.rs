//! Defaults, file and environment, laid over each other and checked key by key against the
//! defaults. Knows TOML, not what a section means.
//!
//! Invariant: a key that the defaults do not name is refused, and so is a value of another type.

use super::error::ConfigError;
use super::secrets;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Before this prefix nothing in the environment concerns the configuration.
pub(super) const ENV_PREFIX: &str = "AFFLUENT__";

/// Tables whose keys are the user's own names, not ours.
const OPEN_TABLES: &[&str] = &["bus.properties", "cdc.protect"];

/// The values in force, before references are resolved, and where each one that is not a default
/// came from.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    defaults: Table,
    pub(super) values: Table,
    pub(super) origins: BTreeMap<String, String>,
}

impl Layers {
    /// The defaults alone.
    pub(super) fn new(defaults: &str) -> Result<Self, ConfigError> {
        let defaults = parse(defaults, "the built-in defaults")?;
        Ok(Layers { values: defaults.clone(), defaults, origins: BTreeMap::new() })
    }

    /// Lays the file's `text` over what is there.
    pub(super) fn add_file(&mut self, text: &str, path: &str) -> Result<(), ConfigError> {
        let origin = |key: &[String]| match line_of(text, key) {
            Some(line) => format!("{path}:{line}"),
            None => path.to_owned(),
        };
        for (key, value) in parse(text, path)? {
            self.lay(&mut vec![key], value, &origin)?;
        }
        Ok(())
    }

    /// Lays the variables `AFFLUENT__SECTION__KEY` over what is there, each read as its default's type.
    pub(super) fn add_env(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut ours: Vec<_> =
            variables.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        ours.sort();
        for (name, text) in ours {
            let mut path: Vec<String> =
                name[ENV_PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
            let origin = format!("environment variable {name}");
            let value = match lookup(&self.defaults, &path) {
                Some(default) => typed(default, &text, &dotted(&path), &origin)?,
                None => Value::String(text),
            };
            self.lay(&mut path, value, &|_| origin.clone())?;
        }
        Ok(())
    }

    /// The values with references resolved and unset keys taken away, ready to become options.
    pub(super) fn resolved(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Table, ConfigError> {
        let mut values = Value::Table(self.values.clone());
        let data_dir = self.values.get("data_dir").and_then(Value::as_str).unwrap_or_default();
        let resolver = secrets::Resolver { env, data_dir };
        self.resolve(&mut values, &mut Vec::new(), &resolver)?;
        match values {
            Value::Table(table) => Ok(table),
            _ => Err(ConfigError::Invalid { message: "the configuration is not a table".to_owned() }),
        }
    }

    /// Where the value of `key` came from.
    pub(super) fn origin(&self, key: &str) -> String {
        let mut part = key;
        loop {
            if let Some(origin) = self.origins.get(part) {
                return origin.clone();
            }
            match part.rfind(['.', '[']) {
                Some(end) => part = &part[..end],
                None => return "the built-in defaults".to_owned(),
            }
        }
    }

    fn resolve(
        &self,
        value: &mut Value,
        path: &mut Vec<String>,
        resolver: &secrets::Resolver<'_>,
    ) -> Result<(), ConfigError> {
        match value {
            Value::String(text) => {
                let key = dotted(path);
                let origin = self.origin(&key);
                *text = resolver.resolve(text).map_err(|(reference, message)| ConfigError::Secret {
                    key,
                    origin,
                    reference,
                    message,
                })?;
            }
            Value::Array(items) => {
                for item in items {
                    self.resolve(item, path, resolver)?;
                }
            }
            Value::Table(table) => {
                table.retain(|key, value| {
                    let unset = |v: Option<&Value>| v.and_then(Value::as_str) == Some("");
                    path.push(key.to_string());
                    let open = is_open(&dotted(path));
                    let keep = !(unset(Some(value)) && (open || unset(lookup(&self.defaults, path))));
                    path.pop();
                    keep
                });
                for (key, value) in table.iter_mut() {
                    path.push(key.clone());
                    self.resolve(value, path, resolver)?;
                    path.pop();
                }
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
        Ok(())
    }

    fn lay(
        &mut self,
        path: &mut Vec<String>,
        value: Value,
        origin: &dyn Fn(&[String]) -> String,
    ) -> Result<(), ConfigError> {
        let key = dotted(path);
        let open =
            OPEN_TABLES.iter().any(|table| key.strip_prefix(table).is_some_and(|k| k.starts_with('.')));
        let default = lookup(&self.defaults, path);
        match (default, value) {
            (None, _) if !open => {
                return Err(ConfigError::UnknownKey {
                    hint: nearest(&self.defaults, path),
                    key,
                    origin: origin(path),
                });
            }
            (Some(Value::Table(_)), Value::Table(table)) => {
                for (name, value) in table {
                    path.push(name);
                    self.lay(path, value, origin)?;
                    path.pop();
                }
            }
            (default, value) => {
                let value = match default {
                    Some(default) => fitting(default, value, &key, || origin(path))?,
                    None => value,
                };
                self.origins.insert(key, origin(path));
                set(&mut self.values, path, value);
            }
        }
        Ok(())
    }
}

/// Whether the key is in a table of the user's own names.
fn is_open(key: &str) -> bool {
    OPEN_TABLES.iter().any(|table| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
}

/// `a.b` of `["a", "b"]`.
pub(super) fn dotted(path: &[String]) -> String {
    path.join(".")
}

fn parse(text: &str, origin: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>()
        .map_err(|error| ConfigError::Syntax { origin: origin.to_owned(), message: error.to_string() })
}

fn lookup<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first)?;
    if rest.is_empty() { Some(value) } else { lookup(value.as_table()?, rest) }
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
    } else if let Some(inner) =
        table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
    {
        set(inner, rest, value);
    }
}

/// The value, if it has the type of its default.
fn fitting(
    default: &Value,
    value: Value,
    key: &str,
    origin: impl Fn() -> String,
) -> Result<Value, ConfigError> {
    match (default, value) {
        (Value::Float(_), Value::Integer(value)) => Ok(Value::Float(value as f64)),
        (default, value) if default.same_type(&value) => Ok(value),
        (default, value) => Err(ConfigError::WrongType {
            key: key.to_owned(),
            value: secrets::shown(key, &value),
            origin: origin(),
            expected: expected(default),
            remedy: remedy(default, key),
        }),
    }
}

/// The text of an environment variable as the type of `default`.
fn typed(default: &Value, text: &str, key: &str, origin: &str) -> Result<Value, ConfigError> {
    let parsed = match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().replace('_', "").parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"))
        }
    };
    parsed.filter(|value| default.same_type(value)).ok_or_else(|| ConfigError::WrongType {
        key: key.to_owned(),
        value: secrets::shown(key, &Value::String(text.to_owned())),
        origin: origin.to_owned(),
        expected: expected(default),
        remedy: remedy(default, key),
    })
}

fn expected(default: &Value) -> String {
    match default {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date and time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
    .to_owned()
}

fn remedy(default: &Value, key: &str) -> String {
    match default {
        Value::Table(table) if !table.is_empty() => format!("write its keys in a section [{key}]"),
        Value::Array(items) if items.is_empty() => "write it in brackets, such as [\"a\", \"b\"]".to_owned(),
        _ => format!("the default is {}", secrets::shown(key, default)),
    }
}

/// Keys that are named where several are as near.
const NEAREST_MAX: usize = 8;

/// `; did you mean `x` or `y`?` of the nearest known keys: first among its siblings, then anywhere.
fn nearest(defaults: &Table, path: &[String]) -> String {
    let known_parents = (0..path.len()).rev().find(|&n| n == 0 || lookup(defaults, &path[..n]).is_some());
    let parents = &path[..known_parents.unwrap_or(0)];
    let wrong = &path[parents.len()];
    let siblings = match lookup(defaults, parents) {
        Some(Value::Table(table)) => table,
        _ => defaults,
    };
    let close = |a: &str, b: &str| strsim::jaro_winkler(a, b);
    let by_name =
        siblings.keys().map(|key| (close(wrong, key), [parents, std::slice::from_ref(key)].concat()));
    let mut all = Vec::new();
    every_path(defaults, &mut Vec::new(), &mut all);
    let last = &path[path.len() - 1];
    let elsewhere = all.into_iter().filter(|p| p.last() == Some(last)).map(|p| (0.85, p));
    let mut near: Vec<(f64, Vec<String>)> =
        by_name.chain(elsewhere).filter(|(score, _)| *score >= 0.8).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some(best) = near.first().map(|(score, _)| *score) else { return String::new() };
    let nearest = near.iter().take_while(|(score, _)| *score >= best).take(NEAREST_MAX);
    let names: Vec<String> = nearest.map(|(_, path)| format!("`{}`", dotted(path))).collect();
    format!("; did you mean {}?", names.join(" or "))
}

fn every_path(table: &Table, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        path.push(key.clone());
        into.push(path.clone());
        if let Value::Table(inner) = value {
            every_path(inner, path, into);
        }
        path.pop();
    }
}

/// The line on which the key at `path` is written, counted from 1.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in path {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part.as_str())?;
        found = Some(key.span().start);
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found.map(|start| text[..start].matches('\n').count() + 1)
}
