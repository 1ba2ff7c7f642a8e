//! Of this machine: directories that are written, addresses that are listened on, certificates.

use super::Trial;
use crate::config::Config;
use crate::http::{self, HttpOptions};
use affluent_documents::Backend;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, absolute};

pub(super) fn trials(config: &Config) -> Vec<Trial> {
    let mut trials = vec![writable("data_dir", &config.data_dir)];
    let directory = config.lake.directory();
    if !directory.starts_with(&config.data_dir) {
        let key = if config.lake.is_remote() { "lake.s3.directory" } else { "lake.warehouse" };
        trials.push(writable(key, directory));
    }
    if config.documents.backend == Backend::Embedded
        && let Some(path) = config.documents.embedded.path.as_ref()
        && !path.starts_with(&config.data_dir)
    {
        trials.push(writable("documents.embedded.path", path));
    }
    trials.extend(tls("http.tls", &config.http));
    let bi = http::TlsOptions {
        certificate_file: config.bi.tls.certificate_file.clone(),
        key_file: config.bi.tls.key_file.clone(),
    };
    trials
        .extend(tls("bi.tls", &HttpOptions { listen: config.bi.listen, tls: bi, ..HttpOptions::default() }));
    let mut listened = vec![("http.listen", config.http.listen), ("bi.listen", config.bi.listen)];
    if config.bus.bootstrap_servers.is_empty() {
        listened.push(("broker.listen", config.broker.listen));
    }
    if config.registry.url.is_none() {
        listened.push(("registry_server.listen", config.registry_server.listen));
    }
    trials.extend(listened.into_iter().filter(|(_, address)| address.port() != 0).map(free));
    trials
}

/// A file can be made in the directory, or where it will be made.
fn writable(key: &'static str, directory: &Path) -> Trial {
    let remedy = format!("name a directory by `{key}` that this user may write");
    let whole = match absolute(directory) {
        Ok(whole) => whole,
        Err(error) => return Trial::failed(key, format!("{}: {error}", directory.display()), remedy),
    };
    let Some(there) = whole.ancestors().find(|path| path.exists()) else {
        return Trial::failed(key, format!("there is no {}", whole.display()), remedy);
    };
    match tempfile::Builder::new().prefix(".affluent-check").tempfile_in(there) {
        Ok(_) => Trial::ok(key, format!("{} can be written", whole.display())),
        Err(error) => Trial::failed(key, format!("{} cannot be written: {error}", there.display()), remedy),
    }
}

/// Certificate and key are read as they will be, on a port that is surely free.
fn tls(key: &'static str, options: &HttpOptions) -> Option<Trial> {
    if !options.tls.is_on() {
        return None;
    }
    let any_port = HttpOptions { listen: SocketAddr::new(options.listen.ip(), 0), ..options.clone() };
    Some(match http::bind(&any_port) {
        Ok(_) => Trial::ok(key, "certificate and key go together"),
        Err(error) => Trial::failed(
            key,
            format!("{error:#}").replace("http.tls", key),
            "give PEM files of the certificate with its chain, and of its key",
        ),
    })
}

/// A taken port is the platform's own, where it runs already.
fn free((key, address): (&'static str, SocketAddr)) -> Trial {
    match TcpListener::bind(address) {
        Ok(_) => Trial::ok(key, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Trial::advice(
            key,
            format!("{address} is taken"),
            format!("right, if this platform runs already; else set `{key}` to another port"),
        ),
        Err(error) => Trial::failed(
            key,
            format!("{address}: {error}"),
            format!("set `{key}` to an address of this machine"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_counts_as_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let trial = writable("data_dir", &folder.path().join("a/b"));
        assert_eq!(trial.outcome, Outcome::Ok, "{trial:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for beneath in [file.clone(), file.join("a")] {
            assert_eq!(writable("data_dir", &beneath).outcome, Outcome::Failed, "{}", beneath.display());
        }
    }

    #[test]
    fn a_taken_port_is_no_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(free(("http.listen", address)).outcome, Outcome::Advice);
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 1));
        assert_eq!(free(("http.listen", elsewhere)).outcome, Outcome::Failed);
    }
}
