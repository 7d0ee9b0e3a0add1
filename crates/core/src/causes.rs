//! An error with all its causes, as one line: for logs and for people who must see the reason.

use std::error::Error;

/// An error and its causes, each after a colon. A layer that only repeats its cause is shown once.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("the key is too short")]
        Bottom,
        #[error("reading the licence")]
        Middle(#[source] Box<Self>),
        #[error(transparent)]
        Top(Box<Self>),
        #[error("said before: {0}")]
        Repeats(#[source] Box<Self>),
    }

    #[test]
    fn every_cause_is_named_once() {
        let middle = || Box::new(Layer::Middle(Box::new(Layer::Bottom)));
        assert_eq!(with_causes(&Layer::Bottom), "the key is too short");
        assert_eq!(with_causes(&*middle()), "reading the licence: the key is too short");
        assert_eq!(with_causes(&Layer::Top(middle())), "reading the licence: the key is too short");
        let repeats = Layer::Repeats(Box::new(Layer::Bottom));
        assert_eq!(with_causes(&repeats), "said before: the key is too short");
    }
}
