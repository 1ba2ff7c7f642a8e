//! The configuration as tables of cases: what is written, and what comes of it.

use super::layers::Layers;
use super::*;

fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut layers = Layers::new(DEFAULTS)?;
    layers.add_file(file, "shop.toml")?;
    layers.add_env(env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())))?;
    let env: Vec<(String, String)> = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    Config::from_layers(&layers, &|name| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
}

/// The options as text, to compare those that have no equality.
fn debug(value: impl std::fmt::Debug) -> String {
    format!("{value:#?}")
}

#[test]
fn defaults_are_the_defaults_of_the_options() {
    let mut config = Config::builtin().unwrap();
    // What the binary decides for the parts: the embedded broker, and the columns of the reference schema.
    assert_eq!(config.bus.bootstrap_servers, "");
    config.bus.bootstrap_servers = BusOptions::default().bootstrap_servers;
    assert_eq!(config.cdc.protect.len(), 4);
    config.cdc.protect.clear();
    // Groups and topics have no default of their own; the lake trades freshness for file size, within memory.
    let ConsumeOptions { commit_interval_ms, commit_records, commit_bytes, .. } = config.sink_lake;
    assert_eq!((commit_interval_ms, commit_records, commit_bytes), (1000, 30_000, 64 << 20));
    let ConsumeOptions { commit_records, commit_bytes, .. } = ConsumeOptions::default();
    (config.sink_lake.commit_records, config.sink_lake.commit_bytes) = (commit_records, commit_bytes);
    for (options, topic) in [
        (&mut config.sink_documents, "oltp"),
        (&mut config.sink_events, "clickstream"),
        (&mut config.sink_lake, "oltp"),
    ] {
        assert!(!options.group.is_empty() && options.topics[0].contains(topic), "{options:?}");
        *options = ConsumeOptions {
            group: String::new(),
            instance_id: String::new(),
            topics: Vec::new(),
            commit_interval_ms: 0,
            ..options.clone()
        };
    }
    // Its topics are those of the definitions.
    let consume = &mut config.features.consume;
    assert_eq!((consume.group.as_str(), consume.topics.len()), ("affluent-features", 0));
    // It writes the last values of the keys that changed, so a commit takes in more records than a sink's.
    assert_eq!((consume.commit_records, consume.commit_bytes), (100_000, 64 << 20));
    (consume.commit_records, consume.commit_bytes) = (commit_records, commit_bytes);
    (consume.group, consume.instance_id, consume.commit_interval_ms) = (String::new(), String::new(), 0);
    assert_eq!(std::mem::take(&mut config.features.stream.directory), PathBuf::from("data/features"));
    // A score waits for nothing.
    let ConsumeOptions { group, linger_ms, retry_max_ms, .. } = std::mem::take(&mut config.score.consume);
    assert_eq!((group.as_str(), linger_ms, retry_max_ms), ("affluent-score", 2, 1_000));
    assert_eq!(std::mem::take(&mut config.score.directory), PathBuf::from("data/score"));
    // The parts name the same directory as we do, where they name one.
    assert_eq!(config.documents.embedded.path.take(), Some("data/documents".into()));
    for (section, found, expected) in [
        ("data_dir", debug(&config.data_dir), debug(PathBuf::from("data"))),
        ("cdc", debug(&config.cdc), debug(CdcOptions::default())),
        ("bus", debug(&config.bus), debug(BusOptions::default())),
        ("broker", debug(&config.broker), debug(BrokerOptions::default())),
        ("registry", debug(&config.registry), debug(RegistryOptions::default())),
        ("registry_server", debug(&config.registry_server), debug(RegistryServerOptions::default())),
        ("documents", debug(&config.documents), debug(DocumentsOptions::default())),
        ("lake", debug(&config.lake), debug(LakeOptions::default())),
        ("sink_documents", debug(&config.sink_documents), debug(ConsumeOptions::default())),
        ("collect", debug(&config.collect), debug(CollectOptions::default())),
        ("sink_events", debug(&config.sink_events), debug(ConsumeOptions::default())),
        ("stage", debug(&config.stage), debug(StageOptions::default())),
        ("batch", debug(&config.batch), debug(BatchOptions::default())),
        ("batch_scheduler", debug(&config.batch_scheduler), debug(SchedulerOptions::default())),
        ("batch_executor", debug(&config.batch_executor), debug(ExecutorOptions::default())),
        ("features", debug(&config.features), debug(FeatureOptions::default())),
        ("learning", debug(&config.learning), debug(LearningOptions::default())),
        ("score", debug(&config.score), debug(ScoringOptions::default())),
        ("schedule", debug(&config.schedule), debug(ScheduleOptions::default())),
        ("events", debug(&config.events), debug(EventOptions::default())),
        ("sink_lake", debug(&config.sink_lake), debug(ConsumeOptions::default())),
        ("http", debug(&config.http), debug(HttpOptions::default())),
        ("alerts", debug(&config.alerts), debug(AlertOptions::default())),
        ("bi", debug(&config.bi), debug(BiOptions::default())),
        ("log", debug(&config.log), debug(LogOptions::default())),
        ("telemetry", debug(&config.telemetry), debug(TelemetryOptions::default())),
    ] {
        assert_eq!(
            found, expected,
            "[{section}] of config/affluent.toml differs from the part's own defaults"
        );
    }
}

/// A key that nobody knows, put into every table in turn: the refusal lists the keys of the options,
/// and they must be the keys of the file.
#[test]
fn every_option_is_in_the_file_and_every_key_is_an_option() {
    let defaults: Table = DEFAULTS.parse().unwrap();
    let mut tables = Vec::new();
    list_tables(&defaults, &mut Vec::new(), &mut tables);
    for path in
        tables.iter().filter(|path| !["cdc.protect", "bus.properties"].contains(&path.join(".").as_str()))
    {
        let mut layers = Layers::new(DEFAULTS).unwrap();
        let table = path.iter().fold(&mut layers.values, |table, part| table[part].as_table_mut().unwrap());
        let mut written: Vec<String> = table.keys().map(ToString::to_string).collect();
        table.insert("nobody_knows".into(), Value::Integer(1));
        let error = Config::from_layers(&layers, &|_| None).unwrap_err().to_string();
        assert!(error.contains("unknown field `nobody_knows`"), "[{}]: {error}", path.join("."));
        let mut known: Vec<String> = error
            .split('`')
            .skip(1)
            .step_by(2)
            .skip_while(|part| *part != "nobody_knows")
            .skip(1)
            .map(String::from)
            .collect();
        written.sort();
        known.sort();
        assert_eq!(written, known, "keys of [{}] in config/affluent.toml and of its options", path.join("."));
    }
}

fn list_tables(table: &Table, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        if let Value::Table(inner) = value {
            path.push(key.to_string());
            into.push(path.clone());
            list_tables(inner, path, into);
            path.pop();
        }
    }
}

#[test]
fn tables_of_the_users_own_names_are_added_to_and_taken_from() {
    let config = load(
        "[cdc.protect]\n'public.customers.email' = ''\n'shop.users.iban' = 'hash'\n\
         [bus.properties]\n'sasl.password' = '${env:PW}'\n",
        &[("PW", "hunter2"), ("AFFLUENT__BUS__PROPERTIES", "{ 'security.protocol' = 'SSL' }")],
    )
    .unwrap();
    assert!(!config.cdc.protect.contains_key("public.customers.email"));
    assert!(config.cdc.protect.contains_key("public.customers.phone"));
    assert!(config.cdc.protect.contains_key("shop.users.iban"));
    assert_eq!(config.bus.properties["sasl.password"], "hunter2");
    assert_eq!(config.bus.properties["security.protocol"], "SSL");
}

#[test]
fn paths_follow_the_data_directory() {
    let config = load("data_dir = '/srv/x'", &[]).unwrap();
    assert_eq!(config.broker.data_dir, Path::new("/srv/x/broker"));
    assert_eq!(config.lake.warehouse, Path::new("/srv/x/lake"));
}

#[test]
fn file_overrides_defaults_and_environment_overrides_the_file() {
    let config = load(
        "[http]\nlisten = '127.0.0.1:1'\nmax_concurrent_requests = 7",
        &[("AFFLUENT__HTTP__MAX_CONCURRENT_REQUESTS", "8"), ("AFFLUENT_CONFIG", "no such"), ("HOME", "/")],
    )
    .unwrap();
    assert_eq!(config.http.listen.port(), 1);
    assert_eq!(config.http.max_concurrent_requests, 8);
}

#[test]
fn a_list_in_the_environment_is_written_in_toml() {
    let token = "[{ name = 'p', token = '${env:SECRET}', roles = ['read'] }]";
    let env = [("AFFLUENT__HTTP__TOKENS", token), ("SECRET", "0123456789abcdef")];
    let config = load("", &env).unwrap();
    assert_eq!(config.http.tokens[0].token, "0123456789abcdef");
}

#[test]
fn errors_name_the_key_the_place_and_the_remedy() {
    for (file, env, parts) in [
        (
            "[http]\n\nlisen = 'x'",
            ("", ""),
            &["http.lisen", "shop.toml:3", "did you mean `http.listen`?"][..],
        ),
        ("listen = 'x'", ("", ""), &["`listen`", "shop.toml:1", "did you mean `", "`http.listen`"]),
        ("[htpp]\nlisten = 'x'", ("", ""), &["`htpp`", "did you mean `http`?"]),
        ("", ("AFFLUENT__LOG__FILTR", "x"), &["log.filtr", "variable AFFLUENT__LOG__FILTR", "`log.filter`?"]),
        ("[zzz]\nq = 1", ("", ""), &["unknown key `zzz`", "config show"]),
        (
            "[http]\nmax_concurrent_requests = 'many'",
            ("", ""),
            &["http.max_concurrent_requests", "\"many\"", "shop.toml:2", "a whole number", "default is 256"],
        ),
        ("log = 'x'", ("", ""), &["`log`", "a table", "section [log]"]),
        (
            "[http]\nlisten = 'nowhere'",
            ("", ""),
            &["http.listen", "nowhere", "shop.toml:2", "socket address"],
        ),
        ("[log]\nformat = 'xml'", ("", ""), &["log.format", "xml", "text", "json"]),
        ("[log]\nfilter = '${env:NO}'", ("", ""), &["log.filter", "shop.toml:2", "NO is not set"]),
        ("[log\n", ("", ""), &["shop.toml", "not valid TOML"]),
        ("", ("AFFLUENT__HTTP__MAX_CONCURRENT_REQUESTS", "x"), &["variable AFFLUENT__HTTP", "whole number"]),
        ("[cdc]\nconnection = 'host=db'\ntables = ['orders']", ("", ""), &["cdc.tables", "`public.orders`"]),
        ("[sink_lake]\ngroup = ' '\ncommit_records = 0", ("", ""), &["sink_lake.commit_records"]),
        ("[schedule]\ntime_zone = 'Mars'", ("", ""), &["schedule.time_zone", "`Mars`", "Europe/Berlin"]),
        ("[schedule.rebuild]\ncron = 'at night'", ("", ""), &["schedule.rebuild.cron", "`at night`"]),
        ("", ("AFFLUENT__SCHEDULE__RAW_TO_DWH__CRON", "* *"), &["schedule.raw_to_dwh.cron", "`* *`"]),
        ("[alerts]\nscale = 2.0", ("", ""), &["alerts.scale"]),
        ("[lake]\nmanifests_max = 1", ("", ""), &["[lake]", "manifests_max"]),
        ("[http]\nlisten = '0.0.0.0:80'", ("", ""), &["http.listen", "reachable", "http.tokens"]),
        (
            "[http]\nlisten = '0.0.0.0:80'\n\
             [[http.tokens]]\nname = 'n'\ntoken = '0123456789abcdef'\nroles = ['read']",
            ("", ""),
            &["http.listen", "reachable", "collect.tokens"],
        ),
        ("[bi]\nlisten = '0.0.0.0:5433'", ("", ""), &["bi.listen", "reachable", "bi.users", "bi.tls"]),
        (
            "[[bi.users]]\nname = 'a'\npassword = ''\nroles = []",
            ("", ""),
            &["bi.users", "\"a\"", "shorter", "openssl"],
        ),
        (
            "[[bi.users]]\nname = 'a'\npassword = '0123456789abcdef'\nroles = ['x']",
            ("", ""),
            &["bi.users", "\"x\"", "bi.roles"],
        ),
        (
            "[[http.tokens]]\nname='a'\ntoken='short'\nroles=['read']",
            ("", ""),
            &["http.tokens", "\"a\"", "openssl"],
        ),
        (
            "[[http.tokens]]\nname='a'\ntoken='0123456789abcdef'\nrole=['read']",
            ("", ""),
            &["http.tokens[0]", "unknown field `role`", "shop.toml:1"],
        ),
    ] {
        let env: &[(&str, &str)] = if env.0.is_empty() { &[] } else { &[env] };
        let message = load(file, env).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert!(!message.contains("0123456789abcdef"), "a token is shown: {message}");
    }
}

/// With any secret, and loopback nowhere: what they need is in them.
#[test]
fn the_configurations_of_the_deployments_can_be_used() {
    for (file, text) in [
        ("compose", include_str!("../../../../deploy/compose/affluent.toml")),
        ("kubernetes", include_str!("../../../../deploy/kubernetes/affluent.toml")),
    ] {
        let mut layers = Layers::new(DEFAULTS).unwrap();
        layers.add_file(text, file).unwrap();
        let config = Config::from_layers(&layers, &|name| Some(format!("secret-of-{name}"))).unwrap();
        assert!(config.http.listen.ip().is_unspecified() && !config.cdc.connection.is_empty(), "{file}");
        assert_eq!(config.data_dir, Path::new("/var/lib/affluent"), "{file}");
    }
}
