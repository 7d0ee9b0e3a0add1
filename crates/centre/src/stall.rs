//! A stream that gives up on a peer that does not take its answer.
//!
//! Decides how long one answer may take to leave. Reading is bounded by the HTTP layer and by
//! `api`; without this bound a peer that asks and never reads would hold its place for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long one answer may wait for its peer altogether, in seconds. The largest, a page of
/// orders of 8 MB, then needs a line of 70 KB a second; all others have a few KiB and fit into
/// the system's buffer. A peer that takes a byte now and then gains nothing.
pub const ANSWER_SECS_MAX: u64 = 120;

/// A stream with bounded answers.
#[derive(Debug)]
pub struct Bounded<I> {
    io: I,
    /// Runs from the first write that had to wait until everything is flushed.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<I> Bounded<I> {
    /// Bounds the answers on `io` by [`ANSWER_SECS_MAX`].
    pub const fn new(io: I) -> Self {
        Self { io, waiting: None }
    }

    /// Passes an outcome on; one that has waited for too long is a failure.
    fn bound<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            return outcome;
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(sleep(Duration::from_secs(ANSWER_SECS_MAX))));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => {
                let text = format!("the answer was not taken within {ANSWER_SECS_MAX} s");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Bounded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Bounded<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.bound(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.bound(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            // hyper flushes when nothing of an answer is left: the next one starts afresh.
            self.waiting = None;
        }
        self.bound(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(context);
        self.bound(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn peer_that_takes_a_byte_now_and_then_is_given_up_too() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let reading = tokio::spawn(async move {
            while theirs.read_u8().await.is_ok() {
                // Virtual time: the clock of this test jumps.
                sleep(Duration::from_secs(ANSWER_SECS_MAX / 4)).await;
            }
        });
        let error = Bounded::new(ours).write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        reading.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_has_the_whole_time() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            while let Ok(byte) = theirs.read_u8().await {
                read.push(byte);
                sleep(Duration::from_secs(ANSWER_SECS_MAX / 4)).await;
            }
            read
        });
        let mut bounded = Bounded::new(ours);
        for answer in [b"abc", b"def", b"ghi"] {
            bounded.write_all(answer).await.unwrap();
            bounded.flush().await.unwrap();
        }
        drop(bounded);
        assert_eq!(reading.await.unwrap(), b"abcdefghi");
    }
}
