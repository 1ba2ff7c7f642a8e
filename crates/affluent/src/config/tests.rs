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

#[test]
fn defaults_are_the_defaults_of_the_options() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.http, HttpOptions::default());
    assert_eq!(config.log, LogOptions::default());
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
        ("listen = 'x'", ("", ""), &["`listen`", "shop.toml:1", "did you mean `http.listen`?"]),
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
        ("[http]\nlisten = '0.0.0.0:80'", ("", ""), &["http.listen", "reachable", "http.tokens"]),
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
