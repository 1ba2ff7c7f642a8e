//! The batch pipeline over a real lake.

mod balances;
mod increments;
mod overtaken;
mod publishing;
mod shipped;
mod world;
