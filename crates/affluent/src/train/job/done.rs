//! What a task says of itself.

use affluent_feature_store::history::HistoryError;
use affluent_learning::dataset::Dataset;
use affluent_learning::registry::RegistryError;
use affluent_schedule::{Outcome, WorkError};

pub(super) type Done = Outcome;

pub(super) fn rows(dataset: &Dataset, notes: String) -> Done {
    let count = dataset.rows.len() as u64;
    Done { rows_in: count, rows_out: count, notes: Some(notes), ..Done::default() }
}

pub(super) fn made(rows_in: u64, notes: &[String]) -> Done {
    let notes = Some(notes.join("; ")).filter(|notes| !notes.is_empty());
    Done { rows_in, rows_out: 1, notes, ..Done::default() }
}

pub(super) fn skipped(why: impl Into<String>) -> Done {
    Done { skipped: true, notes: Some(why.into()), ..Done::default() }
}

pub(super) fn too_few(new: u64, least: usize) -> Done {
    skipped(format!("{new} labels are new, {least} are waited for (learning.rows.new_labels_min)"))
}

pub(super) fn nothing() -> Done {
    skipped("the task dataset found nothing to do")
}

pub(super) fn stopped(error: WorkError) -> anyhow::Error {
    anyhow::Error::new(error)
}

/// Whether another attempt may help: where the lake or the registry did not answer.
pub(super) fn failed(error: &anyhow::Error) -> WorkError {
    let passes = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(error) = cause.downcast_ref::<HistoryError>() {
            return error.is_passing();
        }
        if let Some(error) = cause.downcast_ref::<WorkError>() {
            return error.retryable;
        }
        matches!(cause.downcast_ref::<RegistryError>(), Some(RegistryError::Unreachable { .. }))
    };
    WorkError { message: format!("{error:#}"), retryable: error.chain().any(passes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again() {
        let unreachable =
            RegistryError::Unreachable { url: "u".to_owned(), attempts: 1, message: "m".to_owned() };
        assert!(failed(&anyhow::Error::new(unreachable).context("register")).retryable);
        assert!(!failed(&anyhow::anyhow!("no")).retryable);
        let lost = HistoryError::Stopped { message: "told to stop".to_owned(), retryable: true };
        assert!(failed(&anyhow::Error::new(lost)).retryable);
    }
}
