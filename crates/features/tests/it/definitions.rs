//! Definitions: the shipped ones are sound, mistakes are told, versions guard meanings, a directory overrides.

use affluent_features::definition::{Compute, DefinitionError, Definitions, Freshness, Versions};
use affluent_features::event::{DAY, HOUR};
use affluent_features::{Engine, Event, Options, Plan};
use std::sync::Arc;

const SOURCE: &str = r#"
description = "d"
event_time = "t"
arrival_time = "t"
id = "id"
lateness = "1h"
entities = { customer = "c" }
columns = { amount = "money", kind = "text", fraud = "bool" }
"#;
const VIEW: &str = r#"
entity = "customer"
source = "payments"
owner = "me"
freshness = "5m"
description = "d"
[[features]]
name = "amount_mean"
version = 1
description = "d"
aggregate = "mean"
column = "amount"
filter = "kind = 'a'"
windows = ["1h", "7d"]
"#;

fn parse(source: &str, view: &str) -> Result<Definitions, DefinitionError> {
    let files = [("sources/payments.toml", source), ("view.toml", view)];
    Definitions::from_files(files.map(|(path, text)| (path, path, text)))
}

#[test]
fn the_shipped_definitions_are_recorded_and_run() {
    let definitions = Definitions::load(None).unwrap();
    assert!(definitions.features.len() >= 40, "{}", definitions.features.len());
    let recorded = Versions::shipped().unwrap();
    recorded.check(&definitions).unwrap();
    assert_eq!(
        recorded.to_text(),
        Versions::of(&definitions).to_text(),
        "definitions/versions.lock has to record the shipped definitions: the right side is what it should be"
    );
    for feature in &definitions.features {
        assert!(!feature.description.is_empty() && !feature.owner.is_empty(), "{}", feature.name);
    }
    // Every row of every source can be computed: of an empty engine, nothing is counted.
    let plan = Arc::new(Plan::new(&definitions).unwrap());
    let mut engine = Engine::new(Arc::clone(&plan), Options::default());
    for name in definitions.sources.keys() {
        let source = plan.source(name).unwrap();
        let shape = plan.source_shape(source);
        let (keys, cells) = (vec![Some(1.into()); shape.entities.len()], vec![1; shape.columns.len()]);
        let event =
            Event { source, time: 0, order: 1, version: 0, removed: false, keys: &keys, cells: &cells };
        engine.apply(&event).unwrap();
        let mut row = vec![f64::INFINITY; shape.row.len()];
        assert!(engine.row(&event, &mut row));
        assert!(row.iter().all(|value| !value.is_infinite()), "{name}: every value is written");
    }
}

#[test]
fn windows_expand_and_owners_stand() {
    let definitions = parse(SOURCE, VIEW).unwrap();
    let names: Vec<&str> = definitions.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["amount_mean_1h", "amount_mean_7d"]);
    let feature = &definitions.features[1];
    assert_eq!((feature.owner.as_str(), feature.freshness), ("me", Freshness::FiveMinutes));
    assert!(matches!(&feature.compute, Compute::Window { source, .. } if source == "payments"));
}

#[test]
fn what_was_written_and_what_it_reads_stay_known() {
    let share = "[[features]]\nname = \"share\"\nversion = 1\ndescription = \"d\"\naggregate = \"share\"\n\
                 share = \"fraud = true\"\nwindow = \"1d\"\ndelay = \"7d\"\n";
    let definitions = parse(SOURCE, &format!("{VIEW}{share}")).unwrap();
    let view = &definitions.views["view"];
    assert_eq!(
        (view.entity.as_str(), view.source.as_str(), view.file.as_str()),
        ("customer", "payments", "view.toml")
    );
    let of = |name: &str| definitions.feature(name).unwrap();
    let mean = of("amount_mean_7d");
    assert_eq!((mean.view.as_str(), mean.compute.name()), ("view", "mean"));
    assert_eq!(mean.written.filter.as_deref(), Some("kind = 'a'"));
    assert_eq!(of("share").written.share.as_deref(), Some("fraud = true"));
    let column = |name: &str| definitions.sources["payments"].column(name).unwrap().0;
    assert_eq!(mean.compute.columns(), [column("amount")]);
    let mut reads = [column("amount"), column("kind")];
    reads.sort_unstable();
    assert_eq!(mean.compute.reads(), reads);
    assert_eq!(of("share").compute.reads(), [column("fraud")]);
    // Of a condition only the answer is kept: time, order, answers and the amount, eight bytes each.
    let kept = Plan::new(&definitions).unwrap().kept();
    assert_eq!((kept.len(), kept[0].columns.as_slice()), (1, &["amount".to_owned()][..]));
    assert_eq!((kept[0].window, kept[0].lateness, kept[0].event_bytes), (8 * DAY, HOUR, 32));
}

#[test]
fn a_ratio_names_the_sources_of_its_parts() {
    let definitions = Definitions::load(None).unwrap();
    let sources = |name: &str| definitions.sources_of(definitions.feature(name).unwrap());
    assert_eq!(sources("customer_velocity"), ["transactions"]);
    assert_eq!(sources("terminal_fraud_rate_1d"), ["fraud_labels", "transactions"]);
}

#[test]
fn mistakes_are_told() {
    for (from, to, says) in [
        ("windows =", "windws =", "did you mean windows?"),
        ("owner =", "ownr =", "did you mean owner?"),
        ("column = \"amount\"", "column = \"amuont\"", "did you mean amount?"),
        ("column = \"amount\"", "column = \"kind\"", "kind is no number"),
        ("column = \"amount\"", "", "mean needs column"),
        ("aggregate = \"mean\"", "aggregate = \"maen\"", "did you mean mean?"),
        ("aggregate = \"mean\"", "aggregate = \"count\"", "count has no column"),
        ("aggregate = \"mean\"", "aggregate = \"risk_rate\"", "risk_rate needs a column of type bool"),
        ("source = \"payments\"", "source = \"payment\"", "did you mean payments?"),
        ("entity = \"customer\"", "entity = \"custmer\"", "did you mean customer?"),
        ("kind = 'a'", "kind > 'a'", "only = and !="),
        ("\"7d\"", "\"7w\"", "write 30s, 15m, 24h or 7d"),
        ("\"7d\"", "\"1h\"", "is defined here and in"),
        ("version = 1", "version = 0", "versions begin with 1"),
        ("freshness = \"5m\"", "freshness = \"6m\"", "unknown variant `6m`"),
        ("name = \"amount_mean\"", "name = \"Amount\"", "lower case"),
    ] {
        let error = parse(SOURCE, &VIEW.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("view.toml"), "{to}: {error}");
    }
    let error = parse(&SOURCE.replace("lateness", "latenes"), VIEW).unwrap_err().to_string();
    assert!(error.contains("sources/payments.toml") && error.contains("did you mean lateness?"), "{error}");
    let error = parse(&SOURCE.replace("\"money\"", "\"float\""), VIEW).unwrap_err().to_string();
    assert!(error.contains("columns.amount"), "{error}");
    let ratio = "\n[[features]]\nname = \"r\"\nversion = 1\ndescription = \"d\"\naggregate = \"ratio\"\nof = \"amount_mean_1h\"\nto = \"amount_mean_7\"\n";
    let error = parse(SOURCE, &format!("{VIEW}{ratio}")).unwrap_err().to_string();
    assert!(error.contains("did you mean amount_mean_7d?"), "{error}");
}

#[test]
fn a_changed_meaning_is_a_new_version() {
    let recorded = Versions::of(&parse(SOURCE, VIEW).unwrap());
    let recorded = Versions::parse("record", &recorded.to_text()).unwrap();
    // Another owner, description or column before it is no other meaning.
    let same = VIEW.replace("owner = \"me\"", "owner = \"you\"");
    let source = SOURCE.replace("{ amount", "{ new = \"integer\", amount");
    recorded.check(&parse(&source, &same).unwrap()).unwrap();
    for changed in [VIEW.replace("kind = 'a'", "kind = 'b'"), VIEW.replace("\"mean\"", "\"max\"")] {
        let error = recorded.check(&parse(SOURCE, &changed).unwrap()).unwrap_err();
        assert!(error.to_string().contains("give it version 2"), "{error}");
        recorded.check(&parse(SOURCE, &changed.replace("version = 1", "version = 2")).unwrap()).unwrap();
    }
    let source = SOURCE.replace("amount = \"money\"", "amount = \"decimal(2)\"");
    recorded.check(&parse(&source, VIEW).unwrap()).unwrap_err();
}

#[test]
fn a_directory_overrides_and_adds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sources")).unwrap();
    std::fs::write(folder.path().join("sources/payments.toml"), SOURCE).unwrap();
    std::fs::write(folder.path().join("mine.toml"), VIEW).unwrap();
    std::fs::write(folder.path().join("ips.toml"), VIEW.replace("amount_mean", "other")).unwrap();
    let definitions = Definitions::load(Some(folder.path())).unwrap();
    assert!(definitions.feature("amount_mean_7d").is_some() && definitions.feature("other_7d").is_some());
    assert!(
        definitions.feature("ip_payments_1h").is_none() && definitions.feature("card_payments_1h").is_some()
    );
    let selected = definitions.select(&["customer_velocity"]).unwrap();
    assert_eq!(selected.features.len(), 3, "a ratio brings its parts");
    let error = definitions.select(&["customer_velocty"]).unwrap_err().to_string();
    assert!(error.contains("did you mean customer_velocity?"), "{error}");
    std::fs::write(folder.path().join("mine.toml"), "owner = ").unwrap();
    let error = Definitions::load(Some(folder.path())).unwrap_err().to_string();
    assert!(error.contains("mine.toml"), "{error}");
}
