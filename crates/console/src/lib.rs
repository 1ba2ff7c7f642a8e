//! The console: pages for people. View models in, HTML out.
//!
//! Everything here is pure: who asks, what is shown and when is decided in `affluent/src/http/console`, which fills the view models
//! of these modules. A page is made of [`frame`] (navigation, forms, tables), [`chart`] (drawings in SVG) and the words of [`lang`];
//! [`history`] keeps what was measured over the last day.
//!
//! Invariant: a page asks nobody but its own server ([`assets`], [`frame::POLICY`]), and every text exists in every language.

pub mod alerts;
pub mod assets;
pub mod batch;
pub mod chart;
pub mod dead_letters;
pub mod distribution;
pub mod features;
pub mod frame;
pub mod fraud;
pub mod history;
pub mod lang;
pub mod models;
pub mod overview;
pub mod path;
pub mod pipelines;
pub mod query;
pub mod sign_in;
pub mod units;
