//! Models and rules brought up to date while payments are judged: whoever asks the registry and the file, the judge does not wait for it.

mod served;

pub use served::{Refused, Served};
