//! The models that are trained, and what is the same for all of them: how they are stored, and what is printed.

use super::form::{self, Took};
use super::options::LearningOptions;
use affluent_learning::gate::Gate;
use affluent_learning::registry::{write_folder, write_value_folder};
use affluent_learning::train::{TrainOptions, Trained, TrainedValue};
use serde_json::Value;
use std::path::Path;

/// Which model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fraud,
    Churn,
    Score,
}

impl Kind {
    /// The name under which it is registered.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Fraud => "fraud",
            Kind::Churn => "churn",
            Kind::Score => "score",
        }
    }

    pub(super) fn options(self, learning: &LearningOptions) -> &TrainOptions {
        match self {
            Kind::Fraud => &learning.fraud,
            Kind::Churn => &learning.churn,
            Kind::Score => &learning.score,
        }
    }

    /// It says a number.
    pub(super) fn is_valued(self) -> bool {
        match self {
            Kind::Fraud | Kind::Churn => false,
            Kind::Score => true,
        }
    }
}

/// A model that was trained and judged.
#[derive(Debug)]
pub(super) enum Outcome {
    Class(Box<Trained>),
    Value(Box<TrainedValue>),
}

impl Outcome {
    /// Writes the folder that a registry keeps, which has to be there.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        match self {
            Outcome::Class(trained) => write_folder(trained, folder)?,
            Outcome::Value(trained) => write_value_folder(trained, folder)?,
        }
        Ok(())
    }

    pub(super) fn gates(&self) -> &[Gate] {
        match self {
            Outcome::Class(trained) => &trained.report.gates,
            Outcome::Value(trained) => &trained.report.gates,
        }
    }

    /// Tells what was done otherwise than asked, where it is not told yet.
    pub(super) fn note(&mut self, notes: &[String]) {
        let told = match self {
            Outcome::Class(trained) => &mut trained.report.notes,
            Outcome::Value(trained) => &mut trained.report.notes,
        };
        for note in notes {
            if !told.contains(note) {
                told.push(note.clone());
            }
        }
    }

    pub(super) fn json(&self, took: &Took, version: Option<u64>) -> Value {
        let mut value = match self {
            Outcome::Class(trained) => form::json(&trained.report, took),
            Outcome::Value(trained) => form::value_json(&trained.report, took),
        };
        if let Some(version) = version {
            value["version"] = version.into();
        }
        value
    }

    pub(super) fn text(&self, version: u64) -> String {
        match self {
            Outcome::Class(trained) => form::text(&trained.report, version),
            Outcome::Value(trained) => form::value_text(&trained.report, version),
        }
    }
}
