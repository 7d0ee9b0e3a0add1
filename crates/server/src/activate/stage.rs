//! How far a round with an activation centre is, for a page that waits for it.

use std::sync::atomic::{AtomicU8, Ordering};

use licence_core::language::Language;

/// A part of a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Waiting for the centre.
    Asking,
    /// Looking at what came.
    Checking,
    /// Putting it on disk and in force.
    Writing,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Asking, Self::Checking, Self::Writing];

    /// What to tell a person.
    pub const fn text(self, language: Language) -> &'static str {
        match self {
            Self::Asking => {
                language.pick("запрос в центр лицензирования", "asking the activation centre")
            }
            Self::Checking => language.pick("проверка ответа", "checking the answer"),
            Self::Writing => language.pick("запись", "writing"),
        }
    }
}

/// The stage of the moment: 0 for none, else one more than its place in [`Stage::ALL`].
#[derive(Debug, Default)]
pub(super) struct StageCell(AtomicU8);

impl StageCell {
    pub(super) fn set(&self, stage: Option<Stage>) {
        let place = stage.and_then(|stage| Stage::ALL.iter().position(|other| *other == stage));
        // Shown to people only: nothing is ordered by it.
        self.0.store(place.map_or(0, |place| place as u8 + 1), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Stage> {
        let place = usize::from(self.0.load(Ordering::Relaxed)).checked_sub(1)?;
        Stage::ALL.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_is_read_back_and_none_without_one() {
        let cell = StageCell::default();
        assert_eq!(cell.get(), None);
        for stage in Stage::ALL {
            cell.set(Some(stage));
            assert_eq!(cell.get(), Some(stage));
        }
        cell.set(None);
        assert_eq!(cell.get(), None);
    }
}
