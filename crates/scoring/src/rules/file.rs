//! The file of rules: TOML with named lists and rules, and text files of long lists beside it.
//!
//! ```toml
//! [lists]
//! blocked_cards = "blocked_cards.txt"        # one value a line; empty lines and those that begin with # are left out
//! watched_countries = ["KP", "IR"]
//!
//! [[rules]]
//! name = "card_blocked"
//! when = "card_token in blocked_cards"
//! decision = "decline"                       # approve | review | decline
//! words = "the card is blocked"
//! ```

use super::check::{Kind, Looked, check, looked_up};
use super::{Rule, Rules};
use crate::facts::{FactKind, LOWER, NAMES};
use crate::vocabulary::Vocabulary;
use affluent_features::definition::nearest;
use affluent_model::score::{Decision, RuleHit};
use cel::common::value::Val;
use cel::objects::{Key, Map};
use cel::{Env, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Rules of a file, and values of its lists, at most.
const RULES_MAX: usize = 1_000;
const VALUES_MAX: usize = 1_000_000;

/// Why a file of rules is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("{file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("{file}: {source}")]
    Copy { file: String, source: serde_json::Error },
    #[error("rule {rule}: {problem}")]
    Rule { rule: String, problem: String },
    #[error("list {list}: {problem}")]
    List { list: String, problem: String },
    #[error("more than {RULES_MAX} rules, or {VALUES_MAX} values of lists")]
    TooMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    lists: BTreeMap<String, WrittenList>,
    #[serde(default)]
    rules: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenList {
    File(String),
    Values(Vec<String>),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    name: String,
    when: String,
    decision: Decision,
    words: String,
}

/// A file and its lists as they were read: not yet checked.
#[derive(Clone, Serialize, Deserialize)]
pub struct RulesText {
    rules: Vec<WrittenRule>,
    lists: BTreeMap<String, Vec<String>>,
    version: Arc<str>,
}

impl RulesText {
    /// Reads a file with its lists.
    ///
    /// # Errors
    /// [`RulesError`]: it is not there, or not of the form.
    pub fn read(file: &Path) -> Result<Self, RulesError> {
        Self::parse(&read(file)?, file.parent().unwrap_or(Path::new(".")))
    }

    /// The rules that are shipped.
    ///
    /// # Errors
    /// None: a test reads them.
    pub fn shipped() -> Result<Self, RulesError> {
        Self::parse(include_str!("../../../../config/rules.toml"), Path::new("."))
    }

    /// Keeps a copy of text and lists, from which [`RulesText::kept`] reads them; it is there whole or not at all.
    ///
    /// # Errors
    /// As the file system.
    pub fn keep(&self, copy: &Path) -> std::io::Result<()> {
        if let Some(folder) = copy.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = copy.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(self)?)?;
        std::fs::rename(beside, copy)
    }

    /// What [`RulesText::keep`] has kept, with the version that it had.
    ///
    /// # Errors
    /// [`RulesError`]: there is no copy, or it is not readable.
    pub fn kept(copy: &Path) -> Result<Self, RulesError> {
        let text = read(copy)?;
        serde_json::from_str(&text)
            .map_err(|source| RulesError::Copy { file: copy.display().to_string(), source })
    }

    /// Reads the text of a file; lists are looked for in `folder`.
    ///
    /// # Errors
    /// [`RulesError`]
    pub fn parse(text: &str, folder: &Path) -> Result<Self, RulesError> {
        let Written { lists: written, rules } = toml::from_str(text)?;
        let mut digest = Sha256::new();
        digest.update(text);
        let mut lists = BTreeMap::new();
        for (name, list) in written {
            let list = match list {
                WrittenList::Values(values) => values,
                WrittenList::File(file) => {
                    let text = read(&folder.join(file))?;
                    digest.update(name.as_bytes());
                    digest.update(&text);
                    lines(&text)
                }
            };
            lists.insert(name, list);
        }
        if lists.values().map(Vec::len).sum::<usize>() > VALUES_MAX || rules.len() > RULES_MAX {
            return Err(RulesError::TooMany);
        }
        Ok(RulesText { rules, lists, version: hex::encode(&digest.finalize()[..6]).into() })
    }

    /// What identifies text and lists.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Checks every rule.
    ///
    /// Facts in lower case are found in a list however its values are written.
    ///
    /// # Errors
    /// [`RulesError`]: what is wrong with which.
    pub fn check(self, vocabulary: &Vocabulary) -> Result<Rules, RulesError> {
        let RulesText { rules: written, lists: texts, version } = self;
        if let Some(name) = texts.keys().find(|name| fact(name).is_some() || vocabulary.place(name).is_some())
        {
            let problem = "a fact or a feature has that name".to_owned();
            return Err(RulesError::List { list: name.clone(), problem });
        }
        let env = Arc::new(Env::default().with_stdlib());
        let (mut rules, mut names, mut lowered) = (Vec::new(), HashSet::new(), HashSet::new());
        for rule in written {
            if !names.insert(rule.name.clone()) {
                let problem = "two rules have this name".to_owned();
                return Err(RulesError::Rule { rule: rule.name, problem });
            }
            rules.push(compiled(rule, &env, &texts, vocabulary, &mut lowered)?);
        }
        let mut lists = HashMap::new();
        for (name, mut values) in texts {
            if lowered.contains(&name) {
                let lower: Vec<String> = values.iter().map(|value| value.to_lowercase()).collect();
                values.extend(lower);
            }
            let values = set(&name, values)?;
            lists.insert(name, values);
        }
        Ok(Rules { version, rules, lists, vocabulary: vocabulary.clone(), env })
    }
}

/// A rule, checked; names of lists in which a fact in lower case is looked up are added to `lowered`.
fn compiled(
    rule: WrittenRule,
    env: &Env,
    lists: &BTreeMap<String, Vec<String>>,
    vocabulary: &Vocabulary,
    lowered: &mut HashSet<String>,
) -> Result<Rule, RulesError> {
    let WrittenRule { name, when, decision, words } = rule;
    let wrong = |problem: String| RulesError::Rule { rule: name.clone(), problem };
    let program = env.compile(&when).map_err(|errors| wrong(errors.to_string()))?;
    let near = |unknown: &str| {
        let features = vocabulary.names.iter().map(|feature| feature.name.as_str());
        let known = NAMES.iter().map(|(name, _)| *name).chain(features);
        nearest(unknown, known.chain(lists.keys().map(String::as_str)))
    };
    let kind = |variable: &str| match fact(variable) {
        Some(FactKind::Text) => Ok(Kind::Text),
        Some(FactKind::Integer) => Ok(Kind::Integer),
        Some(FactKind::Decimal) => {
            Err(format!("{variable} is exact: compare {variable}_minor, a whole number"))
        }
        None if vocabulary.place(variable).is_some() => Ok(Kind::Number),
        None if lists.contains_key(variable) => Ok(Kind::Texts),
        None => Err(format!("there is no {variable}{}", near(variable))),
    };
    let found = check(program.expression(), &kind).map_err(wrong)?;
    let mut looked = Vec::new();
    looked_up(program.expression(), &mut looked);
    for (fact, with) in looked.into_iter().filter(|(fact, _)| LOWER.contains(fact)) {
        match with {
            Looked::Name(list) => {
                lowered.insert(list.to_owned());
            }
            Looked::Text(text) if text.to_lowercase() != text => {
                return Err(wrong(format!("{fact} is in lower case: write '{}'", text.to_lowercase())));
            }
            Looked::Text(_) => {}
        }
    }
    match found {
        Kind::Bool => {
            let hit = RuleHit { rule: name.as_str().into(), decision, words: words.into() };
            Ok(Rule { hit, program })
        }
        Kind::Integer | Kind::Number | Kind::Text | Kind::Integers | Kind::Texts => {
            Err(wrong("a condition is true or false".to_owned()))
        }
    }
}

/// The kind of a fact.
fn fact(name: &str) -> Option<FactKind> {
    NAMES.iter().find(|(fact, _)| *fact == name).map(|(_, kind)| *kind)
}

/// A list in which values are found by hashing, however long it is.
fn set(name: &str, values: Vec<String>) -> Result<Box<dyn Val>, RulesError> {
    let map = values.into_iter().map(|value| (Key::from(value), Value::Null)).collect();
    let value = Value::Map(Map { map: Arc::new(map) });
    value.try_into().map_err(|error: cel::ExecutionError| RulesError::List {
        list: name.to_owned(),
        problem: error.to_string(),
    })
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

fn read(file: &Path) -> Result<String, RulesError> {
    std::fs::read_to_string(file)
        .map_err(|source| RulesError::File { file: file.display().to_string(), source })
}
