//! Rules beside the model: conditions in the Common Expression Language (CEL) over the facts and features of a payment and over named lists.
//!
//! A rule file is read whole or not at all ([`file`]); every condition is checked when it is read ([`check`]): its names, its types, and that it is
//! true or false. There are no loops in it, so that it takes a bounded time.
//!
//! A condition that needs a value which a payment does not have (a null column, no features) says nothing: the rule does not hit, and is
//! named among those that were skipped. `a || b` holds all the same where the one that is known is true.
//!
//! Invariant: what rules say is a function of the file's text, its lists, the facts and the features; the version stands for text and lists.

mod check;
mod file;

pub use file::{RulesError, RulesText};

use crate::facts::{FactValue, Facts};
use crate::judge::Row;
use crate::vocabulary::Vocabulary;
use affluent_model::score::RuleHit;
use cel::common::types::{CelDouble, CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, Program, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The version of no rules.
const NONE: &str = "none";

/// Checked rules.
pub struct Rules {
    version: Arc<str>,
    rules: Vec<Rule>,
    lists: HashMap<String, Box<dyn Val>>,
    vocabulary: Vocabulary,
    env: Arc<Env>,
}

struct Rule {
    hit: RuleHit,
    program: Program,
}

/// What rules say of a payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// In the order of the file.
    pub hits: Vec<RuleHit>,
    /// Rules that need what is not known of the payment.
    pub skipped: Vec<Arc<str>>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.rules.iter().map(|rule| &*rule.hit.rule).collect();
        f.debug_struct("Rules").field("version", &self.version).field("rules", &names).finish_non_exhaustive()
    }
}

impl Rules {
    /// No rules.
    #[must_use]
    pub fn none() -> Self {
        Rules {
            version: Arc::from(NONE),
            rules: Vec::new(),
            lists: HashMap::new(),
            vocabulary: Vocabulary::default(),
            env: Arc::new(Env::default()),
        }
    }

    /// Nobody has put rules in place.
    pub(crate) fn are_none(&self) -> bool {
        *self.version == *NONE
    }

    /// What identifies text and lists.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What they say of a payment; `row` are its features, in the order of the vocabulary that the rules were checked with.
    #[must_use]
    pub fn apply(&self, facts: &Facts, row: Option<&Row>) -> Applied {
        let mut applied = Applied::default();
        let names = Names { rules: self, facts, row };
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(&names);
        for rule in &self.rules {
            match rule.program.execute(&context) {
                Ok(Value::Bool(true)) => applied.hits.push(rule.hit.clone()),
                Ok(Value::Bool(false)) => (),
                // A name without a value, or arithmetic that has no result.
                Ok(_) | Err(_) => applied.skipped.push(Arc::clone(&rule.hit.rule)),
            }
        }
        applied
    }
}

/// The names of a payment, looked up when a condition comes to them.
struct Names<'a> {
    rules: &'a Rules,
    facts: &'a Facts,
    row: Option<&'a Row>,
}

impl VariableResolver for Names<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match self.facts.fields.get(variable) {
            Some(FactValue::Text(text)) => return Some(CowVal::owned(CelString::from(text.as_str()))),
            Some(FactValue::Integer(number)) => return Some(CowVal::owned(CelInt::from(*number))),
            Some(FactValue::Decimal(_)) => return None,
            None => (),
        }
        if let Some(place) = self.rules.vocabulary.place(variable) {
            let value = self.row.map_or(f64::NAN, |row| row.values[place]);
            return (!value.is_nan()).then(|| CowVal::owned(CelDouble::from(value)));
        }
        self.rules.lists.get(variable).map(|list| CowVal::Borrowed(list.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::dataset::FeatureVersion;

    fn vocabulary() -> Vocabulary {
        let feature = |name: &str| (FeatureVersion { name: name.to_owned(), version: 1 }, name.to_owned());
        Vocabulary::of(vec![feature("payments_1h"), feature("speed")])
    }

    fn rules(text: &str) -> Result<Rules, RulesError> {
        RulesText::parse(text, std::path::Path::new("."))?.check(&vocabulary())
    }

    fn facts() -> Facts {
        let mut facts = Facts::new("7".to_owned(), 0);
        facts.money("120.00".parse().unwrap(), "EUR");
        facts.text("card_token", Some("tok_1".to_owned()));
        facts.text("ip_country", Some("BR".to_owned()));
        facts.text("card_country", Some("DE".to_owned()));
        facts
    }

    fn row(values: [f64; 2]) -> Row {
        Row { names: vocabulary().names, values: values.to_vec(), is_exact: true, as_of: 0 }
    }

    /// One rule, named `r`, that reviews.
    fn rule(when: &str) -> String {
        format!("[[rules]]\nname = \"r\"\nwhen = '''{when}'''\ndecision = \"review\"\nwords = \"w\"\n")
    }

    /// Hits, skipped.
    fn said(when: &str, row: Option<&Row>) -> (usize, usize) {
        let lists = "[lists]\nblocked = [\"tok_0\", \"tok_1\"]\n";
        let applied = rules(&format!("{lists}{}", rule(when))).unwrap().apply(&facts(), row);
        (applied.hits.len(), applied.skipped.len())
    }

    #[test]
    fn conditions_see_facts_features_and_lists() {
        let row = row([14.0, f64::NAN]);
        for when in [
            "amount_minor >= 12000 && currency == 'EUR'",
            "card_token in blocked",
            "payments_1h > 10",
            "payments_1h * 2.0 == 28.0",
            "currency in ['USD', 'EUR']",
            "ip_country != card_country",
            "!(amount_minor < 100) ? card_token.startsWith('tok_') : false",
            "size(currency) == 3 && double(amount_minor) / 100.0 == 120.0",
            // The other side of a condition that is known need not be.
            "speed > 900.0 || payments_1h > 10.0",
        ] {
            assert_eq!(said(when, Some(&row)), (1, 0), "{when}");
        }
        for when in
            ["payments_1h > 20", "amount_minor == 1", "'x' in blocked", "speed > 1.0 && currency == 'USD'"]
        {
            assert_eq!(said(when, Some(&row)), (0, 0), "{when}");
        }
    }

    #[test]
    fn what_is_not_known_says_nothing() {
        for when in ["speed > 900.0", "device_id == 'd'", "!(device_id in blocked)", "amount_minor / 0 > 1"] {
            assert_eq!(said(when, Some(&row([1.0, f64::NAN]))), (0, 1), "{when}");
        }
        assert_eq!(said("payments_1h > 10", None), (0, 1));
        assert_eq!(said("amount_minor > 10", None), (1, 0));
    }

    #[test]
    fn mistakes_are_found_when_rules_are_read() {
        for (when, message) in [
            ("amount_minor >", "r: "),
            ("amount_minor > 'x'", "cannot compare"),
            ("amount_minor", "true or false"),
            ("amuont_minor > 1", "did you mean amount_minor?"),
            ("amount > 100", "amount_minor"),
            ("payments_1h + 1 > 2.0", "write 1.0"),
            ("currency in payments_1h", "in"),
            ("[1, 2].exists(x, x > 1)", "not part"),
            ("payment.amount > 1", "not part"),
            ("currency.matches('E.*')", "matches"),
            ("currency > 'EUR' || 1", "true or false"),
            ("has(a.b)", "not part"),
            ("now() > 1", "now"),
        ] {
            let error = rules(&rule(when)).unwrap_err().to_string();
            assert!(error.contains(message), "{when}: {error}");
        }
        let twice = format!("{}{}", rule("true"), rule("true"));
        assert!(rules(&twice).unwrap_err().to_string().contains("two rules"));
        let unknown = format!("{}wrods = \"w\"\n", rule("true"));
        assert!(rules(&unknown).unwrap_err().to_string().contains("wrods"));
        let list = format!("[lists]\ncurrency = [\"EUR\"]\n{}", rule("true"));
        assert!(rules(&list).unwrap_err().to_string().contains("currency"), "a list may not hide a fact");
        let file = format!("[lists]\nblocked = \"no_such.txt\"\n{}", rule("true"));
        assert!(rules(&file).unwrap_err().to_string().contains("no_such.txt"));
    }

    #[test]
    fn facts_in_lower_case_are_found_however_a_list_is_written() {
        let lists = "[lists]\nblocked = [\"TOK_1\"]\nterminals = [\"T-1\"]\n";
        let applied = |fact: &str, value: &str, when: &str| {
            let mut facts = facts();
            facts.text(fact, Some(value.to_owned()));
            rules(&format!("{lists}{}", rule(when))).unwrap().apply(&facts, None).hits.len()
        };
        assert_eq!(applied("card_token", "tok_1", "card_token in blocked"), 1);
        assert_eq!(applied("card_token", "tok_2", "card_token in blocked"), 0);
        // What is as it was given has to be written so.
        assert_eq!(applied("terminal_id", "T-1", "terminal_id in terminals"), 1);
        assert_eq!(applied("terminal_id", "t-1", "terminal_id in terminals"), 0);
        for when in
            ["payment_method == 'Card'", "'Card' != payment_method", "card_token in ['tok_1', 'Tok_2']"]
        {
            let error = rules(&rule(when)).unwrap_err().to_string();
            assert!(error.contains("lower case"), "{when}: {error}");
        }
        rules(&rule("currency == 'EUR' && payment_method == 'card'")).unwrap();
    }

    #[test]
    fn a_copy_is_the_same_rules() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("blocked.txt"), "tok_1\n").unwrap();
        let text = format!("[lists]\nblocked = \"blocked.txt\"\n{}", rule("card_token in blocked"));
        let text = RulesText::parse(&text, folder.path()).unwrap();
        let copy = folder.path().join("deep").join("rules.json");
        assert!(RulesText::kept(&copy).is_err());
        text.keep(&copy).unwrap();
        let (one, two) = (text.check(&vocabulary()).unwrap(), RulesText::kept(&copy).unwrap());
        let two = two.check(&vocabulary()).unwrap();
        assert_eq!(one.version(), two.version());
        assert_eq!(one.apply(&facts(), None), two.apply(&facts(), None));
        std::fs::write(&copy, "{").unwrap();
        assert!(RulesText::kept(&copy).is_err());
    }

    #[test]
    fn the_version_stands_for_text_and_lists() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("blocked.txt");
        let text = format!("[lists]\nblocked = \"blocked.txt\"\n{}", rule("card_token in blocked"));
        let read = |lines: &str| {
            std::fs::write(&list, lines).unwrap();
            RulesText::parse(&text, folder.path()).unwrap().check(&vocabulary()).unwrap()
        };
        let (one, two) = (read("# cards\ntok_1\n\n"), read("tok_2\n"));
        assert_ne!(one.version(), two.version());
        assert_eq!(one.version(), read("# cards\ntok_1\n\n").version());
        assert_eq!((one.apply(&facts(), None).hits.len(), two.apply(&facts(), None).hits.len()), (1, 0));
    }

    #[test]
    fn the_shipped_rules_are_valid() {
        let rules = RulesText::shipped().unwrap().check(&crate::vocabulary::tests::shipped()).unwrap();
        assert_eq!(rules.len(), 8);
        assert!(Rules::none().is_empty() && Rules::none().apply(&facts(), None) == Applied::default());
    }
}
