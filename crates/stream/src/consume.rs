//! The one consume loop: bus to sink, with dead letters and offsets in the right order.
