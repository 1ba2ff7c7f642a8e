//! The batch pipeline over a real lake.

mod increments;
mod publishing;
mod shipped;
mod world;
