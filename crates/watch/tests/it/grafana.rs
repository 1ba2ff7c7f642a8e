//! `deploy/grafana`: dashboards as their script writes them, in the form that Grafana reads, about metrics that there are.

use crate::{check_names, files, root, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

fn dashboards() -> Vec<(PathBuf, Value)> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a dashboard");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, value)
    };
    files("deploy/grafana/dashboards", ".json").into_iter().map(read).collect()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is no list in {value}"))
}

#[test]
fn they_are_what_their_script_writes() {
    run(Command::new("python3").arg(root().join("deploy/grafana/dashboards.py")).arg("--check"));
}

#[test]
fn every_query_is_about_metrics_that_there_are() {
    for (path, dashboard) in dashboards() {
        for panel in array(&dashboard, "panels") {
            let place = format!("{}, {}", path.display(), panel["title"]);
            let targets = array(panel, "targets");
            assert!(!targets.is_empty(), "{place}");
            for target in targets {
                check_names(&place, target["expr"].as_str().expect("an expression"));
            }
        }
    }
}

/// What Grafana's model of dashboards asks for (schema version 39), as far as these use it.
#[test]
fn they_have_the_form_that_grafana_reads() {
    let mut ids = BTreeSet::new();
    for (path, dashboard) in dashboards() {
        let place = path.display().to_string();
        let stem = path.file_stem().expect("a name").to_string_lossy();
        assert_eq!(dashboard["uid"], format!("affluent-{stem}"), "{place}");
        assert!(ids.insert(dashboard["uid"].as_str().expect("an id").to_owned()), "{place}");
        assert_eq!(dashboard["schemaVersion"], 39);
        assert!(dashboard["title"].as_str().is_some_and(|title| title.starts_with("Affluent: ")));
        assert!(array(&dashboard, "tags").contains(&"affluent".into()));
        let links = array(&dashboard, "links");
        assert!(
            links
                .iter()
                .any(|link| link["type"] == "dashboards" && array(link, "tags").contains(&"affluent".into()))
        );
        assert!(links.iter().any(|link| link["url"].as_str().is_some_and(|url| url.contains("runbook"))));
        let variables: BTreeSet<&str> = array(&dashboard["templating"], "list")
            .iter()
            .filter_map(|variable| variable["name"].as_str())
            .collect();
        assert_eq!(variables, BTreeSet::from(["datasource", "instance", "pipeline"]), "{place}");
        let (mut numbers, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in array(&dashboard, "panels") {
            let place = format!("{place}, {}", panel["title"]);
            assert!(numbers.insert(panel["id"].as_u64().expect("a number")), "{place}");
            assert!(
                ["timeseries", "stat", "table"].contains(&panel["type"].as_str().expect("a type")),
                "{place}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
            let defaults = &panel["fieldConfig"]["defaults"];
            let units = ["none", "s", "bytes", "cps", "reqps", "percentunit"];
            assert!(units.contains(&defaults["unit"].as_str().expect("a unit")), "{place}");
            let steps = array(&defaults["thresholds"], "steps");
            assert!(steps[0]["value"].is_null(), "{place}: the first step has no value");
            let values: Vec<f64> =
                steps[1..].iter().map(|step| step["value"].as_f64().expect("a value")).collect();
            assert!(values.is_sorted(), "{place}: {values:?}");
            let side = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
            assert!(side("x") + side("w") <= 24, "{place}");
            for x in side("x")..side("x") + side("w") {
                for y in side("y")..side("y") + side("h") {
                    assert!(taken.insert((x, y)), "{place} lies over another");
                }
            }
            let names: BTreeSet<&str> =
                array(panel, "targets").iter().filter_map(|target| target["refId"].as_str()).collect();
            assert_eq!(names.len(), array(panel, "targets").len(), "{place}");
        }
    }
}
