//! What the pages of the models show, and what is done there: a version promoted, the champion before called back.

use super::{Done, Posted, Route, Visitor, page};
use crate::http::options::Access;
use crate::http::{Problem, Shared};
use crate::models::last_drift;
use crate::train::Store;
use affluent_console::frame::State as Shown;
use affluent_console::models::{self as pages, Drift, Model, Version};
use affluent_learning::drift::{Level, Watched};
use affluent_learning::registry::{self, RegistryError, promote, roll_back};
use affluent_learning::report::drift;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::time::Duration;

/// The registry has this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// A report has its style in itself; it loads nothing, runs nothing, and is framed by our own pages alone.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                             frame-ancestors 'self'; sandbox";
const PAGE: &str = "/console/models";

/// The form that promotes.
#[derive(Debug, Deserialize)]
struct Promotion {
    version: u64,
    /// `yes`: although it failed gates.
    force: Option<String>,
}

/// A form that says nothing more.
#[derive(Debug, Deserialize)]
struct Nothing {}

pub(super) fn routes() -> Vec<Route> {
    let (reading, changing): (&[Access], &[Access]) = (&[Access::Read], &[Access::Admin]);
    vec![
        Route { path: "/console/models", roles: reading, handler: get(list) },
        Route { path: "/console/models/{model}/{version}", roles: reading, handler: get(version) },
        Route { path: "/console/models/{model}/{version}/report", roles: reading, handler: get(report) },
        Route { path: "/console/models/{model}/promote", roles: changing, handler: post(promoted) },
        Route { path: "/console/models/{model}/rollback", roles: changing, handler: post(rolled_back) },
    ]
}

/// All models.
async fn list(State(shared): State<Shared>, visitor: Visitor) -> Response {
    let (models, problem) = match gathered(&shared).await {
        Ok(models) => (models, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    page(pages::list(&visitor.viewer, &models, problem.as_deref()))
}

/// The page of a version.
async fn version(
    State(shared): State<Shared>,
    path: Result<Path<(String, u64)>, PathRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Path((model, version)) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let report = stored_report(&shared, &model, version).await?;
    Ok(page(pages::version(&visitor.viewer, &model, version, report.is_some())))
}

/// Its report, as it was stored.
async fn report(
    State(shared): State<Shared>,
    path: Result<Path<(String, u64)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((model, version)) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let report = stored_report(&shared, &model, version).await?;
    let missing = || Problem::not_found(format!("version {version} of {model} has no report"));
    let headers =
        [(header::CONTENT_SECURITY_POLICY, REPORT_POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, Html(report.ok_or_else(missing)?)).into_response())
}

/// Lets a version serve.
async fn promoted(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    Posted(form, visitor): Posted<Promotion>,
) -> Result<Response, Problem> {
    let Path(model) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let is_forced = form.force.as_deref() == Some("yes");
    let registry = store(&shared)?;
    let result = told(within(promote(registry.as_ref(), &model, Some(form.version), is_forced)).await);
    let subject = format!("{model} {}", form.version);
    Ok(done(&shared, &visitor, "models.promote", &subject, result).await)
}

/// Lets the champion before serve again.
async fn rolled_back(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    Posted(Nothing {}, visitor): Posted<Nothing>,
) -> Result<Response, Problem> {
    let Path(model) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let registry = store(&shared)?;
    let result = told(within(roll_back(registry.as_ref(), &model)).await);
    Ok(done(&shared, &visitor, "models.rollback", &model, result).await)
}

/// Back to the models, with what became of it.
async fn done(
    shared: &Shared,
    visitor: &Visitor,
    action: &'static str,
    subject: &str,
    result: Result<registry::Aliases, String>,
) -> Response {
    let outcome = result.map(|aliases| {
        let champion = aliases.champion.map_or("none".to_owned(), |version| version.to_string());
        format!("champion {champion}")
    });
    Done { action, subject, outcome, back: PAGE }.tell(shared, visitor).await
}

fn store(shared: &Shared) -> Result<Store, Problem> {
    let config = shared.platform.config();
    config.learning.store(&config.data_dir).map_err(|error| Problem::internal(format!("{error:#}")))
}

/// What the registry answers, unless it takes too long.
async fn within<T>(asked: impl Future<Output = T>) -> Result<T, Problem> {
    let late = |_| Problem::unavailable("the registry of models does not answer");
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)
}

/// What the names are then, or why they are not changed; also of a registry that does not answer, so that the audit trail has an outcome.
fn told(
    answer: Result<Result<registry::Aliases, RegistryError>, Problem>,
) -> Result<registry::Aliases, String> {
    match answer {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(late) => Err(late.detail().to_owned()),
    }
}

/// The page that was stored with a version; none where it has none.
async fn stored_report(shared: &Shared, model: &str, version: u64) -> Result<Option<String>, Problem> {
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir();
    let scratch = scratch.map_err(|error| Problem::internal(format!("make a directory: {error}")))?;
    let registry = store(shared)?;
    let folder = within(registry.folder(model, version, scratch.path())).await?.map_err(problem)?;
    match tokio::fs::read_to_string(folder.join("report.html")).await {
        Ok(report) => Ok(Some(report)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::internal(format!("read the report of {model} {version}: {error}"))),
    }
}

async fn gathered(shared: &Shared) -> anyhow::Result<Vec<Model>> {
    let config = shared.platform.config();
    let registry = config.learning.store(&config.data_dir)?;
    let reading = async {
        let mut models = Vec::new();
        for name in registry.models().await? {
            let aliases = registry.aliases(&name).await?;
            let versions = registry.versions(&name).await?;
            models.push(Model {
                drift: found(last_drift(config, &name)),
                name,
                champion: aliases.champion,
                challenger: aliases.challenger,
                previous: aliases.previous,
                versions: versions.into_iter().rev().map(listed).collect(),
            });
        }
        Ok::<_, RegistryError>(models)
    };
    Ok(tokio::time::timeout(PATIENCE, reading).await??)
}

fn listed(version: registry::Version) -> Version {
    Version {
        version: version.version,
        registered_at: version.registered_ms.saturating_mul(1_000),
        figures: version.headline.into_iter().collect(),
        failed: version.failed,
    }
}

fn found(report: anyhow::Result<Option<Watched>>) -> Drift {
    match report {
        Ok(None) => Drift::Never,
        Ok(Some(watched)) => Drift::Found {
            state: match watched.level {
                Level::Stable => Shown::Good,
                Level::Warn => Shown::Warn,
                Level::Alarm => Shown::Bad,
            },
            version: watched.version,
            period: watched.current.period.to_string(),
            plots: drift::plots(&watched).into_iter().map(|(_, svg)| svg).collect(),
        },
        Err(error) => Drift::Unknown(format!("{error:#}")),
    }
}

fn problem(error: RegistryError) -> Problem {
    let text = error.to_string();
    match error {
        RegistryError::NoModel(_) | RegistryError::NoVersion { .. } => Problem::not_found(text),
        RegistryError::Name(_) => Problem::bad_request(text),
        RegistryError::NoPrevious(_) | RegistryError::Gates { .. } => Problem::conflict(text),
        RegistryError::Unreachable { .. } => Problem::unavailable(text),
        RegistryError::File { .. }
        | RegistryError::Json { .. }
        | RegistryError::Refused { .. }
        | RegistryError::Answer { .. } => Problem::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_says_has_its_status() {
        let model = || "m".to_owned();
        for (error, status) in [
            (RegistryError::NoModel(model()), 404),
            (RegistryError::Name(model()), 400),
            (RegistryError::NoPrevious(model()), 409),
            (RegistryError::Answer { what: model(), message: String::new() }, 500),
        ] {
            assert_eq!(problem(error).status().as_u16(), status);
        }
    }

    #[test]
    fn a_registry_that_does_not_answer_is_an_outcome() {
        assert_eq!(told(Err(Problem::unavailable("late"))).unwrap_err(), "late");
        assert!(told(Ok(Err(RegistryError::NoModel("m".to_owned())))).is_err());
    }

    #[test]
    fn a_look_that_was_not_taken_or_cannot_be_read_is_told() {
        assert_eq!(found(Ok(None)), Drift::Never);
        assert_eq!(found(Err(anyhow::anyhow!("broken"))), Drift::Unknown("broken".to_owned()));
    }
}
