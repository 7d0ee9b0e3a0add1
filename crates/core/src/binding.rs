//! How far a computer may change before a licence that is bound to it stops, and what is told before.
//!
//! Counts of matching parts go in, a standing comes out. Which parts there are, how they are read
//! and how a key is sealed to them is not decided here.

use serde::{Deserialize, Serialize};

use crate::time::Utc;

/// Days of grace when a licence names none: a fortnight covers a holiday and a purchase.
pub const GRACE_DAYS_DEFAULT: u16 = 14;

/// Most days of grace that a licence may name.
pub const GRACE_DAYS_MAX: u16 = 365;

/// How strictly a licence is bound to its computer; the vendor's choice for a series.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum BindingLevel {
    /// Half of the parts must match.
    Loose,
    /// Six of ten parts must match.
    #[default]
    Medium,
    /// Eight of ten parts must match.
    Strict,
    /// The key lies in the TPM 2.0 of the computer; parts do not count.
    Tpm,
}

impl BindingLevel {
    /// How many of `parts` must match. For [`Self::Tpm`] none: the TPM answers for the computer.
    pub const fn matching_min(self, parts: usize) -> usize {
        let tenths = match self {
            Self::Loose => 5,
            Self::Medium => 6,
            Self::Strict => 8,
            Self::Tpm => 0,
        };
        (parts * tenths).div_ceil(10)
    }
}

/// How many of `parts` must match for the key to open at all: a third, and two where there are two,
/// so that no single part opens it. Never more than any level but [`BindingLevel::Tpm`] asks for,
/// except with fewer than four parts.
pub const fn opening_min(parts: usize) -> usize {
    let third = parts.div_ceil(3);
    if third >= 2 || parts < 2 { third } else { 2 }
}

/// What a licence asks of the computer that it is bound to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// The level.
    pub level: BindingLevel,
    /// Days that the licence goes on after too many parts have changed.
    #[serde(default = "grace_days_default")]
    pub grace_days: u16,
}

impl Default for Binding {
    fn default() -> Self {
        Self { level: BindingLevel::default(), grace_days: GRACE_DAYS_DEFAULT }
    }
}

const fn grace_days_default() -> u16 {
    GRACE_DAYS_DEFAULT
}

/// A kind of part of a computer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// Serial number of the board.
    Board,
    /// Serial number of the case.
    Chassis,
    /// Kind of the processor. The only part that two computers bought together share.
    Cpu,
    /// Serial number or WWN of a disk.
    Disk,
    /// Id of the volume that the folder of the data lies on.
    FileSystem,
    /// Id of the installed operating system.
    MachineId,
    /// Hardware address of a network card.
    NetworkCard,
    /// UUID of the computer in its firmware.
    System,
}

impl PartKind {
    /// What people call it in English.
    pub const fn english(self) -> &'static str {
        match self {
            Self::Board => "mainboard",
            Self::Chassis => "case",
            Self::Cpu => "processor",
            Self::Disk => "disk",
            Self::FileSystem => "volume of the data",
            Self::MachineId => "operating system",
            Self::NetworkCard => "network card",
            Self::System => "computer (UUID)",
        }
    }

    /// What people call it in Russian.
    pub const fn russian(self) -> &'static str {
        match self {
            Self::Board => "материнская плата",
            Self::Chassis => "корпус",
            Self::Cpu => "процессор",
            Self::Disk => "диск",
            Self::FileSystem => "том с данными",
            Self::MachineId => "операционная система",
            Self::NetworkCard => "сетевая карта",
            Self::System => "компьютер (UUID)",
        }
    }
}

/// A part that a key was sealed to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PartState {
    /// What it is.
    pub kind: PartKind,
    /// Whether the computer has it.
    pub matches: bool,
}

/// How the computer compares to what the key was sealed to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match {
    /// So many of so many parts match.
    Parts {
        /// Parts that match.
        matching: usize,
        /// All parts that the key was sealed to.
        total: usize,
    },
    /// A mounted secret opened it; there is nothing that could drift.
    Secret,
    /// The TPM opened it; there is nothing that could drift.
    Tpm,
}

/// Where a licence stands with its computer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It fits.
    Fits {
        /// How many more parts may change; nothing when nothing can drift.
        more: Option<usize>,
    },
    /// Too many parts have changed; it goes on until this moment.
    Grace {
        /// The moment from which it does not work.
        until: Utc,
    },
    /// Too many parts have changed, and the days of grace are over.
    Over {
        /// Since when.
        since: Utc,
    },
    /// The licence wants a TPM, and the key is not in one.
    NeedsTpm,
}

impl Standing {
    /// Whether the licence may be used.
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Fits { .. } | Self::Grace { .. })
    }
}

impl Binding {
    /// Where a licence stands. `changed_at` is when it was first seen that fewer parts matched than
    /// its level asks for, as far as that is known; without it the days of grace begin now.
    pub fn standing(self, found: Match, changed_at: Option<Utc>, now: Utc) -> Standing {
        let (matching, total) = match found {
            Match::Tpm => return Standing::Fits { more: None },
            Match::Secret | Match::Parts { .. } if self.level == BindingLevel::Tpm => {
                return Standing::NeedsTpm;
            }
            Match::Secret => return Standing::Fits { more: None },
            Match::Parts { matching, total } => (matching, total),
        };
        let wanted = self.level.matching_min(total);
        if matching >= wanted {
            return Standing::Fits { more: Some(matching - wanted) };
        }
        let until = changed_at.unwrap_or(now).plus_days(u32::from(self.grace_days));
        if now < until { Standing::Grace { until } } else { Standing::Over { since: until } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    #[test]
    fn levels_ask_for_more_parts_one_after_the_other_and_opening_for_fewest() {
        for parts in 4..=16 {
            let opens = opening_min(parts);
            let [loose, medium, strict] =
                [BindingLevel::Loose, BindingLevel::Medium, BindingLevel::Strict]
                    .map(|level| level.matching_min(parts));
            assert!(2 <= opens && opens <= loose, "{parts}");
            assert!(loose <= medium && medium <= strict && strict <= parts, "{parts}");
        }
        assert_eq!([0, 1, 2, 3, 7].map(opening_min), [0, 1, 2, 2, 3]);
        assert_eq!(BindingLevel::Loose.matching_min(7), 4);
        assert_eq!(BindingLevel::Medium.matching_min(7), 5);
        assert_eq!(BindingLevel::Strict.matching_min(7), 6);
    }

    #[test]
    fn licence_fits_then_has_grace_then_is_over() {
        let binding = Binding { level: BindingLevel::Medium, grace_days: 14 };
        let parts = |matching| Match::Parts { matching, total: 7 };
        let check = |found, changed_at, wanted| {
            assert_eq!(binding.standing(found, changed_at, now()), wanted, "{found:?}");
        };
        check(parts(7), None, Standing::Fits { more: Some(2) });
        check(parts(5), None, Standing::Fits { more: Some(0) });
        let until = now().plus_days(14);
        check(parts(4), None, Standing::Grace { until });
        let days_ago = |days: i64| now().plus_millis(-days * 86_400_000);
        check(parts(4), Some(days_ago(13)), Standing::Grace { until: now().plus_days(1) });
        check(parts(4), Some(days_ago(14)), Standing::Over { since: now() });
        check(Match::Secret, None, Standing::Fits { more: None });
        check(Match::Tpm, None, Standing::Fits { more: None });
    }

    #[test]
    fn licence_for_a_tpm_works_with_nothing_else() {
        let binding = Binding { level: BindingLevel::Tpm, grace_days: 14 };
        for found in [Match::Secret, Match::Parts { matching: 7, total: 7 }] {
            assert_eq!(binding.standing(found, None, now()), Standing::NeedsTpm);
        }
        assert!(binding.standing(Match::Tpm, None, now()).is_usable());
    }

    #[test]
    fn level_and_days_are_read_from_a_licence_and_days_may_be_left_out() {
        let read: Binding = serde_json::from_str(r#"{"Level":"strict"}"#).unwrap();
        assert_eq!(read, Binding { level: BindingLevel::Strict, grace_days: GRACE_DAYS_DEFAULT });
        let text = serde_json::to_string(&read).unwrap();
        assert_eq!(text, r#"{"Level":"strict","GraceDays":14}"#);
    }
}
