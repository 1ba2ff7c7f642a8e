//! References in values, and what of a value may be shown.
//!
//! Invariant: `config show` and every error message pass a value through [`shown`], so a secret
//! that was written into the configuration is not written out again.

use toml::Value;

/// A secret file is not larger than this.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const MASK: &str = "********";

/// Resolves `${env:NAME}`, `${file:PATH}` and `${data_dir}`; `$${` is a plain `${`.
pub(super) struct Resolver<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) data_dir: &'a str,
}

impl Resolver<'_> {
    /// The text with every reference replaced, or the reference that cannot be and why.
    pub(super) fn resolve(&self, text: &str) -> Result<String, (String, String)> {
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                resolved.push_str(&rest[..start - 1]);
                resolved.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            let Some(length) = rest[start..].find('}') else {
                return Err((rest[start..].to_owned(), "the closing } is missing".to_owned()));
            };
            let reference = &rest[start..=start + length];
            resolved.push_str(&rest[..start]);
            resolved.push_str(
                &self
                    .look_up(&reference[2..reference.len() - 1])
                    .map_err(|message| (reference.to_owned(), message))?,
            );
            rest = &rest[start + length + 1..];
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    fn look_up(&self, reference: &str) -> Result<String, String> {
        match reference.split_once(':') {
            Some(("env", name)) => {
                (self.env)(name).ok_or_else(|| format!("the environment variable {name} is not set; set it"))
            }
            Some(("file", path)) => read_secret(path),
            None if reference == "data_dir" => Ok(self.data_dir.to_owned()),
            _ => {
                Err("there are ${env:NAME}, ${file:PATH} and ${data_dir}; write $${ for a plain ${"
                    .to_owned())
            }
        }
    }
}

fn read_secret(path: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("read {path}: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{path} has {size} bytes; a secret has at most {FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The value of `key` as it may be shown: secrets masked by the key's name, and passwords inside
/// connection strings. References are shown as written, for they are not the secret.
pub(super) fn masked(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() || is_reference(text) => value.clone(),
        Value::String(_) if is_secret(key) => Value::String(MASK.to_owned()),
        Value::String(text) => Value::String(mask_connection(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(key, item)).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(name, value)| (name.clone(), masked(name, value))).collect())
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.clone(),
    }
}

/// [`masked`] as TOML text.
pub(super) fn shown(key: &str, value: &Value) -> String {
    masked(key, value).to_string()
}

fn is_reference(text: &str) -> bool {
    text.starts_with("${") && text.find('}') == Some(text.len() - 1)
}

fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    let whole = key.to_ascii_lowercase();
    ["password", "secret", "passphrase"].iter().any(|word| whole.contains(word))
        || ["token", "tokens", "pem", "webhook_url"].contains(&name)
        || ["_token", "_key"].iter().any(|end| name.ends_with(end))
}

/// `postgres://user:********@host` and `host=… password=********`.
fn mask_connection(text: &str) -> String {
    with_password(text, MASK).unwrap_or_else(|| text.to_owned())
}

/// The connection with `password` in the place of its own, in a URL or in `key=value` form; none where it has none.
pub(super) fn with_password(text: &str, password: &str) -> Option<String> {
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((user_info, host)) = rest.rsplit_once('@')
        && let Some((user, _)) = user_info.split_once(':')
    {
        return Some(format!("{scheme}://{user}:{password}@{host}"));
    }
    let is_url = text.contains("://");
    let value = text.find("password=")? + "password=".len();
    let end = match text[value..].strip_prefix('\'') {
        Some(quoted) => quoted.find('\'').map(|end| value + end + 2),
        None => {
            text[value..].find(|c: char| c.is_whitespace() || (is_url && c == '&')).map(|end| value + end)
        }
    };
    Some(format!("{}{password}{}", &text[..value], end.map_or("", |end| &text[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_escapes_kept() {
        let env = |name: &str| (name == "PG_PASSWORD").then(|| "s3cret".to_owned());
        let resolver = Resolver { env: &env, data_dir: "data" };
        for (text, expected) in [
            ("plain", Ok("plain")),
            ("${env:PG_PASSWORD}", Ok("s3cret")),
            ("postgres://u:${env:PG_PASSWORD}@h/${data_dir}", Ok("postgres://u:s3cret@h/data")),
            ("$${env:PG_PASSWORD}", Ok("${env:PG_PASSWORD}")),
            ("${env:ABSENT}", Err("ABSENT is not set")),
            ("${env:OPEN", Err("closing }")),
            ("${vault:x}", Err("${file:PATH}")),
            ("${file:/no/such/file}", Err("read /no/such/file")),
        ] {
            match (resolver.resolve(text), expected) {
                (Ok(resolved), Ok(expected)) => assert_eq!(resolved, expected, "{text}"),
                (Err((_, message)), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_secret_file_loses_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "top secret\n").unwrap();
        let resolver = Resolver { env: &|_| None, data_dir: "" };
        let text = format!("${{file:{}}}", file.path().display());
        assert_eq!(resolver.resolve(&text), Ok("top secret".to_owned()));
    }

    #[test]
    fn secrets_are_masked_and_references_are_not() {
        for (key, text, expected) in [
            ("bus.properties.sasl.password", "hunter2", MASK),
            ("cdc.protect_key", "abc", MASK),
            ("cdc.protect_key", "${env:KEY}", "${env:KEY}"),
            ("cdc.protect_key", "", ""),
            ("cdc.connection", "postgres://me:hunter2@db:5432/shop", "postgres://me:********@db:5432/shop"),
            ("cdc.connection", "postgres://me:${env:P}@db/shop", "postgres://me:********@db/shop"),
            ("cdc.connection", "host=db password=hunter2 dbname=x", "host=db password=******** dbname=x"),
            ("cdc.connection", "host=db password='a b' dbname=x", "host=db password=******** dbname=x"),
            ("cdc.connection", "host=db dbname=x", "host=db dbname=x"),
            (
                "cdc.connection",
                "postgres://me@db/shop?password=hunter2&sslmode=require",
                "postgres://me@db/shop?password=********&sslmode=require",
            ),
            ("cdc.slot", "affluent", "affluent"),
        ] {
            assert_eq!(masked(key, &Value::from(text)), Value::from(expected), "{key} = {text}");
        }
    }
}
