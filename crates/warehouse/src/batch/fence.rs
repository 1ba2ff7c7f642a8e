//! The right to commit: asked for right before every commit, so that a run that was told to stop or has lost
//! its lease writes nothing more. What is asked may be over a moment later, so every commit to a table carries the
//! run's number too, and the table refuses a run that is older than one that has written to it.

use super::BatchError;
use affluent_lake::{Advance, Commit};
use affluent_schedule::RunContext;
use async_trait::async_trait;

/// Answers whether the caller may still commit.
#[async_trait]
pub trait Fence: Send + Sync {
    /// # Errors
    /// [`BatchError::Stopped`].
    async fn check(&self) -> Result<(), BatchError>;

    /// The number that grows from one holder of the right to the next; `None` outside of any run.
    fn token(&self) -> Option<i64>;
}

/// Asks for the right to commit now. The commit moves the table by `advance`.
///
/// # Errors
/// [`BatchError::Stopped`].
pub(crate) async fn permit(fence: &dyn Fence, advance: Vec<Advance>) -> Result<Commit, BatchError> {
    fence.check().await?;
    Ok(Commit { advance, fence: fence.token(), ..Commit::default() })
}

/// For commands outside of any run: always.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unfenced;

#[async_trait]
impl Fence for Unfenced {
    async fn check(&self) -> Result<(), BatchError> {
        Ok(())
    }

    fn token(&self) -> Option<i64> {
        None
    }
}

#[async_trait]
impl Fence for RunContext {
    async fn check(&self) -> Result<(), BatchError> {
        if self.cancelled().is_cancelled() {
            return Err(BatchError::Stopped { message: "told to stop".to_owned(), retryable: true });
        }
        RunContext::check(self)
            .await
            .map_err(|error| BatchError::Stopped { message: error.message, retryable: error.retryable })
    }

    fn token(&self) -> Option<i64> {
        Some(self.fence())
    }
}
