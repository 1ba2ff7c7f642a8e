//! The right to commit: asked for right before every commit, so that a run that was told to stop or has lost
//! its lease writes nothing more.

use super::BatchError;
use affluent_schedule::RunContext;
use async_trait::async_trait;

/// Answers whether the caller may still commit.
#[async_trait]
pub trait Fence: Send + Sync {
    /// # Errors
    /// [`BatchError::Stopped`].
    async fn check(&self) -> Result<(), BatchError>;
}

/// For commands outside of any run: always.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unfenced;

#[async_trait]
impl Fence for Unfenced {
    async fn check(&self) -> Result<(), BatchError> {
        Ok(())
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
}
