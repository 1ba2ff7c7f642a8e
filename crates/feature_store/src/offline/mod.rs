//! The offline store: tables `features.<view>` of the lake, with the vectors that its keys had at instants of the past.
//!
//! `view` decides what is computed for a view, `table` how its rows lie in the lake, `materialise` computes them.
//!
//! A vector as of an instant is a function of the events that had arrived by then and lie in its windows. So a materialisation reads
//! the windows, not all of history, wherever it begins; killed or repeated it gives the same rows.
//!
//! Invariant: the rows of an instant and of one meaning of the view's features are in the table once, all or none of them.

mod materialise;
mod slices;
mod table;
mod view;

pub use materialise::{Materialised, Offline, Writer};
pub use view::ViewPlan;
