//! Whether about as many records came as usual.

use super::CheckResult;
use crate::batch::frontier::Frontier;
use crate::batch::model::{Model, Severity};
use crate::batch::rows::{Collected, number};
use crate::batch::window::Window;
use crate::batch::{Batch, BatchError, sql};
use affluent_lake::sql::Session;

/// Name of the check, by which its history is found.
const VOLUME: &str = "volume";
/// Checks back that are looked at, and those that there have to be.
const HISTORY: usize = 96;
const HISTORY_MIN: usize = 8;
/// Numbers below this are small talk.
const USUAL_MIN: i64 = 100;

impl Batch {
    /// The records of a staged table in the window, held against those of the checks before.
    pub(super) async fn check_volume(
        &self,
        session: &Session,
        model: &Model,
        frontier: &Frontier,
        window: &Window,
    ) -> Result<Option<CheckResult>, BatchError> {
        if model.zone != "staged" {
            return Ok(None);
        }
        let count = |text: String| async move {
            Collected::of(session, &text).await.map_err(BatchError::sql(format!("{}, volume", model.file)))
        };
        let own = window.condition_of(&frontier.topics(&model.table()));
        let rows = count(format!("select count(*) from {} where {own}", model.quoted())).await?;
        let measured = rows.batches.first().and_then(|batch| number(batch, 0, 0)).unwrap_or(0);
        let before = count(format!(
            "select measured from ops.checks where \"check\" = '{VOLUME}' and \"table\" = {} \
             order by checked_at desc limit {HISTORY}",
            sql::text(&model.table())
        ))
        .await?;
        let history: Vec<i64> = before
            .batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).filter_map(|row| number(batch, 0, row)))
            .collect();
        let odd = unusual(measured, history, i64::from(self.options.volume_factor));
        let result = CheckResult::new(model, VOLUME, Severity::Warn, u64::from(odd.is_some()));
        Ok(Some(CheckResult { measured: Some(measured), detail: odd.unwrap_or_default(), ..result }))
    }
}

/// What is odd about a number, given those before it.
fn unusual(measured: i64, mut history: Vec<i64>, factor: i64) -> Option<String> {
    if factor == 0 || history.len() < HISTORY_MIN {
        return None;
    }
    history.sort_unstable();
    let usual = history[history.len() / 2];
    let much = measured > usual.max(USUAL_MIN).saturating_mul(factor);
    let little = usual >= USUAL_MIN && measured.saturating_mul(factor) < usual;
    (much || little).then(|| format!("{measured} records came, {usual} are usual"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_off_is_unusual() {
        let history = |usual: i64| vec![usual; 10];
        for (measured, usual, odd) in
            [(1000, 1000, false), (9000, 1000, false), (10_001, 1000, true), (99, 1000, true), (0, 5, false)]
        {
            assert_eq!(unusual(measured, history(usual), 10).is_some(), odd, "{measured} after {usual}");
        }
        assert_eq!(unusual(1_000_000, vec![1; 3], 10), None);
        assert_eq!(unusual(1_000_000, history(1000), 0), None);
    }
}
