//! The users of the configuration with what their roles give them.

use super::verifier::Bytes32;
use super::{Grants, Verifier};
use crate::options::{BiOptions, RoleOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who is trusted where no users are configured.
pub(crate) const TRUSTED: &str = "affluent";

/// What one statement of a user may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserLimits {
    pub(crate) timeout: Duration,
    /// `None`: no limit.
    pub(crate) rows: Option<u64>,
}

/// A user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    /// `None`: no password is asked for.
    verifier: Option<Verifier>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) limits: UserLimits,
}

/// Everybody who may connect.
#[derive(Debug)]
pub(crate) struct Users {
    users: BTreeMap<String, Arc<User>>,
    nobody: Bytes32,
}

impl Users {
    /// The users of checked options.
    ///
    /// # Errors
    /// A verifier that is none, with the user.
    pub(crate) fn new(options: &BiOptions) -> Result<Self, String> {
        let mut users = BTreeMap::new();
        for user in &options.users {
            let roles: Vec<&RoleOptions> =
                options.roles.iter().filter(|role| user.roles.contains(&role.name)).collect();
            let verifier = Verifier::of(&user.password)
                .map_err(|problem| format!("the password of {:?} in `bi.users`: {problem}", user.name))?;
            let known = User {
                name: user.name.clone(),
                verifier: Some(verifier),
                grants: Arc::new(Grants::of(roles.iter().copied())),
                limits: limits(options, &roles),
            };
            users.insert(user.name.clone(), Arc::new(known));
        }
        if users.is_empty() {
            let trusted = User {
                name: TRUSTED.to_owned(),
                verifier: None,
                grants: Arc::new(Grants::all()),
                limits: limits(options, &[]),
            };
            users.insert(TRUSTED.to_owned(), Arc::new(trusted));
        }
        Ok(Users { users, nobody: rand::random() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// What a password of `name` is checked against; `None`: no password is asked for.
    pub(crate) fn verifier(&self, name: &str) -> Option<Verifier> {
        match self.users.get(name) {
            Some(user) => user.verifier.clone(),
            None => Some(Verifier::of_nobody(&self.nobody, name)),
        }
    }

    /// Everybody's name, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }
}

/// The widest limits of the roles; a role that names none has those of the section.
fn limits(options: &BiOptions, roles: &[&RoleOptions]) -> UserLimits {
    let timeouts = roles.iter().map(|role| role.statement_timeout_s.unwrap_or(options.statement_timeout_s));
    let timeout = timeouts.max().unwrap_or(options.statement_timeout_s);
    // 0 is no limit.
    let rows = roles.iter().map(|role| role.max_rows.unwrap_or(options.max_rows));
    let widest = rows.reduce(|a, b| if a == 0 || b == 0 { 0 } else { a.max(b) }).unwrap_or(options.max_rows);
    UserLimits { timeout: Duration::from_secs(timeout), rows: (widest > 0).then_some(widest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::UserOptions;

    fn options() -> BiOptions {
        let role = |name: &str, timeout, rows| RoleOptions {
            name: name.to_owned(),
            schemas: vec![name.to_owned()],
            statement_timeout_s: timeout,
            max_rows: rows,
            ..RoleOptions::default()
        };
        let user = |name: &str, roles: &[&str]| UserOptions {
            name: name.to_owned(),
            password: "long enough".to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
        };
        BiOptions {
            users: vec![user("ana", &["dwh"]), user("bo", &["dwh", "ops"]), user("cy", &["dwh", "free"])],
            roles: vec![
                role("dwh", Some(5), Some(10)),
                role("ops", None, Some(20)),
                role("free", Some(1), Some(0)),
            ],
            statement_timeout_s: 60,
            max_rows: 5,
            ..BiOptions::default()
        }
    }

    #[test]
    fn a_user_has_the_widest_limits_of_the_roles() {
        let users = Users::new(&options()).unwrap();
        for (name, timeout, rows) in [("ana", 5, Some(10)), ("bo", 60, Some(20)), ("cy", 5, None)] {
            let limits = users.get(name).unwrap().limits;
            assert_eq!(limits, UserLimits { timeout: Duration::from_secs(timeout), rows }, "{name}");
        }
        assert!(users.get("bo").unwrap().grants.sees("ops", "runs"));
        assert!(!users.get("ana").unwrap().grants.sees("ops", "runs"));
        assert_eq!(users.names(), ["ana", "bo", "cy"]);
    }

    #[test]
    fn nobody_is_trusted_beside_users() {
        let users = Users::new(&options()).unwrap();
        assert!(users.get(TRUSTED).is_none());
        assert!(users.verifier(TRUSTED).is_some());
        let alone = Users::new(&BiOptions::default()).unwrap();
        assert_eq!(alone.verifier(TRUSTED), None);
        assert!(alone.verifier("postgres").is_some());
        assert_eq!(alone.names(), [TRUSTED]);
    }
}
