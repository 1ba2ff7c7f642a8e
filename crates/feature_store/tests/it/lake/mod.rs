//! Features over a real lake: history that was imported, taken up to the warehouse, materialised, learned from, compared.

mod materialise;
mod parity;
mod sources;
mod training;
mod world;
