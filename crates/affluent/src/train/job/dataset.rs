//! The tasks `dataset` and `split`: rows out of the lake, where there is something to learn from them.

use super::TrainJob;
use super::done::{Done, nothing, rows, skipped, stopped, too_few};
use crate::train::kind::Kind;
use crate::train::lake::{self, Asked};
use crate::train::state::Run;
use affluent_feature_store::training::{events_between, payments_span};
use affluent_learning::dataset::{Dataset, check};
use affluent_learning::split::{Split, SplitError};
use affluent_schedule::{Interval, RunContext};

impl TrainJob {
    pub(super) async fn dataset(
        &self,
        run: &Run,
        interval: Interval,
        context: &RunContext,
    ) -> anyhow::Result<Done> {
        if let Some(plan) = run.plan()? {
            let dataset = lake::read_again(&self.offline, &plan.manifest).await?;
            return Ok(rows(&dataset, plan.manifest.source));
        }
        let Some(known) = self.offline.known_until().await? else {
            return Ok(skipped("the warehouse has not taken anything in yet: run raw-to-dwh"));
        };
        let Some((first, _)) = payments_span(&self.offline).await? else {
            return Ok(skipped("there are no payments in the warehouse yet"));
        };
        let as_of = known.min(interval.to_us());
        if as_of <= first {
            return Ok(skipped("there were no payments by the end of the interval"));
        }
        let since = self.runs.before(interval)?.map_or(i64::MIN, |before| before.protocol.test.to);
        let least = self.options.rows.new_labels_min;
        let most = self.new_at_most(since, as_of).await?;
        if most < least as u64 {
            return Ok(too_few(most, least));
        }
        let asked = Asked { as_of: Some(as_of), ..Asked::default() };
        let prepared = lake::prepare(&self.offline, self.kind, &self.options, asked, context).await;
        let (plan, dataset) = match prepared {
            Err(error) if lake::is_too_short(&error) => return Ok(skipped(format!("{error:#}"))),
            prepared => prepared?,
        };
        let new = new_labels(self.kind, &dataset, since);
        let refused = if new < least {
            Some(too_few(new as u64, least))
        } else {
            self.can_be_learned(&dataset, &plan).err().map(skipped)
        };
        context.check().await.map_err(stopped)?;
        if let Some(refused) = refused {
            self.drop_unneeded(run, Some(&plan.manifest), context).await?;
            return Ok(refused);
        }
        run.put_plan(&plan)?;
        self.drop_unneeded(run, None, context).await?;
        Ok(rows(&dataset, format!("{}, {new} labels are new", plan.manifest.source)))
    }

    /// How many labels can be new, before rows are computed for it: those of payments that have had time to be known; of customers any number
    /// once there was a look that can be judged.
    async fn new_at_most(&self, since: i64, as_of: i64) -> anyhow::Result<u64> {
        let known = as_of.saturating_sub(lake::delay(self.kind, &self.options));
        if known < since {
            return Ok(0);
        }
        Ok(match self.kind {
            Kind::Fraud => events_between(&self.offline, lake::LABELS, (since.max(0), known)).await?,
            Kind::Churn | Kind::Score => u64::MAX,
        })
    }

    /// Whether there are rows and labels enough to learn and to judge; why not, in words.
    fn can_be_learned(&self, dataset: &Dataset, plan: &lake::Planned) -> Result<(), String> {
        let rows = &dataset.rows;
        let split = self.split_of(dataset, plan).map_err(|error| error.to_string())?;
        for (what, places) in [("the training period", &split.train), ("the judged period", &split.test)] {
            let checked = match self.kind {
                Kind::Fraud | Kind::Churn => check::labels(what, &rows.labels(places)),
                Kind::Score => check::values(what, &rows.values(places)),
            };
            checked.map_err(|problem| problem.to_string())?;
        }
        Ok(())
    }

    fn split_of(&self, dataset: &Dataset, plan: &lake::Planned) -> Result<Split, SplitError> {
        let leave_known = self.train_options().leave_known && !self.kind.is_valued();
        plan.protocol.split(&dataset.rows, leave_known)
    }

    pub(super) async fn split(&self, run: &Run) -> anyhow::Result<Done> {
        let Some((plan, dataset)) = self.planned(run).await? else { return Ok(nothing()) };
        let split = self.split_of(&dataset, &plan)?;
        let notes = format!(
            "learned from {} ({} rows), judged on {} ({} rows, {} of known cards left out)",
            plan.protocol.train,
            split.train.len(),
            plan.protocol.test,
            split.test.len(),
            split.known
        );
        Ok(rows(&dataset, notes))
    }
}

/// Labels that are looked for in rows of a period that no model was judged by; of a number every row has one.
fn new_labels(kind: Kind, dataset: &Dataset, since: i64) -> usize {
    let rows = &dataset.rows;
    let is_new = |row: &usize| rows.time[*row] >= since && (kind.is_valued() || rows.label[*row]);
    (0..rows.len()).filter(is_new).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::dataset::Rows;

    #[test]
    fn labels_are_new_that_no_model_was_judged_by() {
        let rows = Rows { time: vec![1, 2, 3, 4], label: vec![true, false, true, true], ..Rows::default() };
        let dataset = Dataset { rows, ..Dataset::default() };
        assert_eq!(new_labels(Kind::Churn, &dataset, i64::MIN), 3);
        assert_eq!(new_labels(Kind::Fraud, &dataset, 3), 2);
        assert_eq!(new_labels(Kind::Score, &dataset, 3), 2);
        assert_eq!(new_labels(Kind::Score, &dataset, i64::MIN), 4);
    }
}
