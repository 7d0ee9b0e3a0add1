//! Events as they are written, for whoever listens at the moment.
//!
//! The journal's writer publishes what is on disk; nothing is kept for those who come later, they
//! read the database. A listener that is too slow loses the oldest and is told how many.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Semaphore, broadcast};

use super::Event;

/// Events that a slow listener may lag behind: some hundreds of KB, and more than a busy server
/// writes in a second.
const LAG_MAX: usize = 1024;

/// Streams over HTTP at one time: each is a connection that stays. An administrator has a few
/// pages open, integrators one stream each.
pub const STREAMS_MAX: usize = 64;

/// Where events are published and listened to. Clones are the same feed.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Nothing once it is closed.
    sender: Arc<RwLock<Option<broadcast::Sender<Arc<Event>>>>>,
    /// Bounds the streams over HTTP.
    pub(crate) streams: Arc<Semaphore>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: Arc::new(RwLock::new(Some(broadcast::channel(LAG_MAX).0))),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

impl Feed {
    /// Listens from this moment on. Of a closed feed nothing comes but its end.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Whether anybody listens; if not, nothing need be read back and published.
    pub fn has_listeners(&self) -> bool {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Streams over HTTP that are open.
    pub fn listeners(&self) -> usize {
        STREAMS_MAX.saturating_sub(self.streams.available_permits())
    }

    /// Tells everybody who listens.
    pub fn publish(&self, events: Vec<Event>) {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref() {
            for event in events {
                if sender.send(Arc::new(event)).is_err() {
                    // The last listener has gone meanwhile.
                    break;
                }
            }
        }
    }

    /// Ends what listeners read, because the server stops: their connections would keep it up.
    pub fn close(&self) {
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use licence_core::time::Utc;
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    fn event(no: i64) -> Event {
        Event {
            no,
            at: Utc::from_unix_millis(no),
            kind: "denied".to_owned(),
            subject: None,
            key_no: None,
            series: None,
            reason: None,
            detail: None,
        }
    }

    #[tokio::test]
    async fn listener_gets_what_comes_after_it_and_the_end() {
        let feed = Feed::default();
        assert!(!feed.has_listeners());
        feed.publish(vec![event(1)]);
        let mut listener = feed.subscribe();
        assert!(feed.clone().has_listeners());
        feed.publish(vec![event(2)]);
        feed.close();
        feed.publish(vec![event(3)]);
        assert_eq!(listener.recv().await.map(|event| event.no), Ok(2));
        assert_eq!(listener.recv().await.unwrap_err(), RecvError::Closed);
        assert_eq!(feed.subscribe().recv().await.unwrap_err(), RecvError::Closed);
        assert!(!feed.has_listeners());
    }

    #[tokio::test]
    async fn slow_listener_is_told_how_many_it_lost() {
        let feed = Feed::default();
        let mut listener = feed.subscribe();
        feed.publish((0..1030).map(event).collect());
        assert_eq!(listener.recv().await.unwrap_err(), RecvError::Lagged(6));
        assert_eq!(listener.recv().await.map(|event| event.no), Ok(6));
    }
}
