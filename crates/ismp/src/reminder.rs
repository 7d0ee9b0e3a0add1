//! Whom to remind of what, and when: the eleven fields of
//! `ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации`.
//!
//! Works on one row of settings and one moment; showing it is the caller's.

use licence_core::time::Utc;
use serde::Serialize;

use crate::key::{Inn, ProductionObject};
use crate::kind::TokenKind;
use crate::responsible::Setting;

/// What a missing date is in 1C.
pub const EMPTY_DATE: &str = "0001-01-01T00:00:00";

/// How long a reminder is put off when nobody says.
pub const SNOOZE_SECS: u32 = 600;

/// How long a reminder may be put off, in seconds: the life of a key.
pub const SNOOZE_SECS_MAX: u32 = 36_000;

/// Seconds of a minute.
const MINUTE: i64 = 60;

/// One row of reminders.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reminder {
    /// `ТипТокенаАвторизации`.
    #[serde(rename = "TokenType")]
    pub kind: TokenKind,
    /// `Организация`.
    pub organization: Inn,
    /// `ПроизводственныйОбъект`.
    pub production_object: Option<ProductionObject>,
    /// `ДатаДействия`: [`EMPTY_DATE`] without a key.
    #[serde(serialize_with = "date_or_empty")]
    pub expiry_date: Option<Utc>,
    /// `ВремяДействия`: seconds left, a multiple of 60.
    pub remaining_secs: i64,
    /// `Отсутствует`.
    pub is_missing: bool,
    /// `Просрочен`: there is a key, and less than a whole minute of it is left.
    pub is_expired: bool,
    /// `ТребуетсяАктуализация`.
    pub needs_refresh: bool,
    /// `ОповещениеИспользуется`.
    pub uses_reminder: bool,
    /// `ОповещатьЗа`, in seconds.
    pub remind_before_secs: i64,
    /// `ОповеститьЧерез`, in seconds.
    pub remind_in_secs: i64,
}

/// Shows a moment, or the empty date of 1C.
pub(crate) fn date_or_empty<S: serde::Serializer>(
    date: &Option<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match date {
        Some(date) => serializer.collect_str(date),
        None => serializer.serialize_str(EMPTY_DATE),
    }
}

/// The row for a setting. `valid_until` is the end of the key that is kept, `snoozed_until` what the
/// person has put their reminders off to.
pub fn reminder(
    setting: &Setting,
    valid_until: Option<Utc>,
    snoozed_until: Option<Utc>,
    now: Utc,
) -> Reminder {
    // 1C counts in whole seconds.
    let left_to = |moment: Utc| moment.unix_seconds().saturating_sub(now.unix_seconds());
    let remaining_secs = valid_until.map_or(0, |end| left_to(end).max(0) / MINUTE * MINUTE);
    let is_missing = valid_until.is_none();
    let is_expired = !is_missing && remaining_secs == 0;
    let remind_before_secs = i64::from(setting.notify_secs);
    let uses_reminder = remind_before_secs > 0;
    let snooze_left = snoozed_until.map_or(0, |until| left_to(until).max(0));
    let remind_in_secs = if !uses_reminder {
        0
    } else if remaining_secs > remind_before_secs {
        remaining_secs - remind_before_secs
    } else {
        snooze_left
    };
    let is_due = uses_reminder && remaining_secs <= remind_before_secs && snooze_left == 0;
    Reminder {
        kind: setting.kind,
        organization: setting.organization.clone(),
        production_object: setting.production_object.clone(),
        expiry_date: valid_until,
        remaining_secs,
        is_missing,
        is_expired,
        needs_refresh: is_missing || is_expired || is_due,
        uses_reminder,
        remind_before_secs,
        remind_in_secs,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(clock: &str) -> Utc {
        format!("2026-11-22T{clock}Z").parse().unwrap()
    }

    fn setting(notify_secs: u32) -> Setting {
        Setting {
            kind: TokenKind::Suz,
            organization: "7707083893".parse().unwrap(),
            production_object: Some("line-1".parse().unwrap()),
            notify_secs,
        }
    }

    #[test]
    fn vectors_of_the_interface() {
        // now is 12:00:00: end, remind before, snooze; left, missing, expired, needed, used, in.
        for (end, before, snooze, left, missing, expired, needed, used, within) in [
            (None, 0, None, 0, true, false, true, false, 0),
            (None, 600, Some("12:05:00"), 0, true, false, true, true, 300),
            (Some("11:59:59"), 0, None, 0, false, true, true, false, 0),
            (Some("12:00:59"), 600, None, 0, false, true, true, true, 0),
            (Some("12:01:00"), 0, None, 60, false, false, false, false, 0),
            (Some("12:10:59"), 600, None, 600, false, false, true, true, 0),
            (Some("12:11:00"), 600, None, 660, false, false, false, true, 60),
            (Some("12:05:00"), 600, Some("12:03:00"), 300, false, false, false, true, 180),
            (Some("12:05:00"), 600, Some("12:00:00"), 300, false, false, true, true, 0),
            (Some("22:00:00"), 3600, None, 36000, false, false, false, true, 32400),
        ] {
            let row = reminder(&setting(before), end.map(at), snooze.map(at), at("12:00:00"));
            let name = format!("{end:?}, {before}, {snooze:?}");
            assert_eq!(row.remaining_secs, left, "{name}");
            assert_eq!((row.is_missing, row.is_expired), (missing, expired), "{name}");
            assert_eq!((row.needs_refresh, row.uses_reminder), (needed, used), "{name}");
            assert_eq!(
                (row.remind_in_secs, row.remind_before_secs),
                (within, i64::from(before)),
                "{name}"
            );
        }
    }

    #[test]
    fn missing_date_is_shown_as_1c_shows_it() {
        let row = reminder(&setting(0), None, None, at("12:00:00"));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["ExpiryDate"], EMPTY_DATE);
        assert_eq!(json.as_object().unwrap().len(), 11, "all eleven fields");
    }

    proptest! {
        #[test]
        fn rows_keep_the_properties_of_the_interface(
            end in proptest::option::of(-100_000_i64..100_000),
            before in 0_u32..40_000,
            snooze in proptest::option::of(-10_000_i64..10_000),
        ) {
            let now = at("12:00:00");
            let moment = |secs: Option<i64>| secs.map(|secs| now.plus_millis(secs * 1000));
            let row = reminder(&setting(before), moment(end), moment(snooze), now);
            prop_assert_eq!(row.remaining_secs % 60, 0);
            prop_assert!(!(row.is_missing && row.is_expired));
            prop_assert!(!row.is_expired || row.needs_refresh);
            prop_assert!(row.remind_in_secs == 0 || row.uses_reminder);
            prop_assert!(row.remind_in_secs >= 0 && row.remaining_secs >= 0);
        }
    }
}
