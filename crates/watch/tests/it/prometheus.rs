//! `deploy/prometheus`: its rules are ours, each has its page and its cases.

use crate::{check_names, files, read, root, run};
use affluent_model::Severity;
use affluent_watch::{Evaluator, Limit, Measure, RULES, SLOS};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// An alert as the file has it.
#[derive(Debug, Default)]
struct Written {
    expr: String,
    severity: String,
    hold: u32,
    runbook: String,
}

/// Every alert of the rules by name. The files keep to one form: a key a line, long expressions on the lines behind `expr: >-`.
fn written() -> BTreeMap<String, Written> {
    let mut alerts: BTreeMap<String, Written> = BTreeMap::new();
    for path in files("deploy/prometheus/rules", ".yml") {
        let text = std::fs::read_to_string(path).expect("rules");
        for block in text.split("      - alert: ").skip(1) {
            let end = block.find("\n      - ").or_else(|| block.find("\n  - ")).unwrap_or(block.len());
            let (name, body) = block[..end].split_once('\n').expect("a rule");
            let value = |key: &str| {
                let found = body.lines().find_map(|line| line.trim().strip_prefix(key));
                found.map(|value| value.trim().to_owned()).unwrap_or_default()
            };
            let expr = body.split_once("expr:").expect("an expression").1;
            let ends = ["\n        for:", "\n        keep_firing_for:", "\n        labels:"];
            let end = ends.iter().filter_map(|end| expr.find(end)).min().unwrap_or(expr.len());
            let severity = value("labels: {severity: ");
            let rule = Written {
                expr: expr[..end].to_owned(),
                severity: severity.trim_end_matches('}').to_owned(),
                hold: seconds(&value("for:")),
                runbook: value("runbook_url:"),
            };
            assert!(alerts.insert(name.to_owned(), rule).is_none(), "{name} is there twice");
        }
    }
    alerts
}

/// Of `5m`; nothing is 0.
fn seconds(text: &str) -> u32 {
    let Some(unit) = text.chars().last() else { return 0 };
    let number: u32 = text[..text.len() - 1].parse().expect("a number");
    number
        * match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            other => panic!("unit {other}"),
        }
}

/// As Prometheus has it: `5m`, `6h`.
fn duration(seconds: u32) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let (size, unit) =
        units.into_iter().find(|(size, _)| seconds.is_multiple_of(*size)).expect("whole minutes");
    format!("{}{unit}", seconds / size)
}

#[test]
fn the_rules_are_those_of_the_process_itself() {
    let written = written();
    let mut names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
    names.insert("AffluentDown");
    assert_eq!(written.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for rule in RULES {
        let found = &written[rule.name];
        let severity = match rule.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        assert_eq!((found.severity.as_str(), found.hold), (severity, rule.hold), "{}", rule.name);
        let (limit, windows) = match rule.measure {
            Measure::Absent { .. } => ("absent(".to_owned(), Vec::new()),
            measure => {
                let limit = match rule.limit {
                    Limit::Above(limit) => format!("> {limit}"),
                    Limit::Below(limit) => format!("< {limit}"),
                };
                let windows = match measure {
                    Measure::Burn { window } => vec![window, window / 12],
                    Measure::Growth { window, .. }
                    | Measure::Increase { window, .. }
                    | Measure::Share { window, .. } => vec![window],
                    Measure::Value { .. }
                    | Measure::Ratio { .. }
                    | Measure::Since { .. }
                    | Measure::Until { .. }
                    | Measure::Absent { .. } => Vec::new(),
                };
                (limit, windows)
            }
        };
        for part in windows.into_iter().map(duration).chain([limit]) {
            assert!(found.expr.contains(&part), "{}: {part} is not in {}", rule.name, found.expr);
        }
        for label in rule.by {
            assert!(found.expr.contains(label), "{}: not by {label}: {}", rule.name, found.expr);
        }
    }
}

#[test]
fn the_promises_are_those_of_the_process_itself() {
    let text = read("deploy/prometheus/rules/slo.yml");
    assert_eq!(text.matches("record: affluent:slo_good:count").count(), SLOS.len());
    for slo in SLOS {
        let rule = text
            .split("- record: affluent:slo_good:count")
            .find(|rule| rule.contains(&format!("slo: {}}}", slo.id)));
        let rule = rule.unwrap_or_else(|| panic!("no rule of {}", slo.id));
        let rule = rule.split_once("slo:").expect("its label").0;
        let mut parts = vec![format!("{}_bucket{{", slo.metric)];
        parts.extend(slo.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")));
        let bound = if slo.bound.fract() == 0.0 {
            format!("{}([.]0)?", slo.bound)
        } else {
            slo.bound.to_string().replace('.', "[.]")
        };
        parts.push(format!("le=~\"{bound}\""));
        for part in parts {
            assert!(rule.contains(&part), "{}: {part} is not in {rule}", slo.id);
        }
    }
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let written = written();
    for (name, rule) in &written {
        assert_eq!(rule.runbook, format!("docs/runbook/{name}.md"));
        let page = read(&rule.runbook);
        for part in [&format!("# {name}\n"), "## How to see why", "## What to do"] {
            assert!(page.contains(part), "{name}: no {part}");
        }
    }
    let pages = files("docs/runbook", ".md");
    let named = |path: &std::path::PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    for name in pages.iter().filter_map(named).filter(|name| name != "README") {
        assert!(written.contains_key(&name), "the page {name} has no alert");
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for path in files("deploy/prometheus/tests", ".yml") {
        let text = std::fs::read_to_string(path).expect("cases");
        for case in text.split("alertname: ").skip(1) {
            let name = case.split([',', '\n']).next().expect("a name").trim().to_owned();
            let rest = case.lines().take(2).any(|line| line.contains("exp_alerts: []"));
            if rest {
                rests.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    let names: BTreeSet<String> = written().into_keys().collect();
    assert_eq!(fires, names);
    assert_eq!(rests, names);
}

#[test]
fn rules_name_only_metrics_that_there_are() {
    for path in files("deploy/prometheus/rules", ".yml") {
        let text = std::fs::read_to_string(&path).expect("rules");
        check_names(&path.display().to_string(), &text);
    }
    for metric in Evaluator::wanted() {
        check_names("rules.rs", &metric);
    }
}

#[test]
fn prometheus_understands_rules_and_passes_their_cases() {
    let (rules, tests) = (files("deploy/prometheus/rules", ".yml"), files("deploy/prometheus/tests", ".yml"));
    run(Command::new("promtool").args(["check", "rules"]).args(rules));
    run(Command::new("promtool").args(["test", "rules"]).args(tests));
    let config = root().join("deploy/prometheus/prometheus.yml");
    run(Command::new("promtool").args(["check", "config"]).arg(config));
    let config = root().join("deploy/prometheus/alertmanager.yml");
    run(Command::new("amtool").arg("check-config").arg(config));
}
