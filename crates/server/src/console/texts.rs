//! Words and figures of the pages in the reader's language.
//!
//! Turns values into text; decides nothing else. Moments are written in UTC, because the server
//! does not know the reader's time zone; the script shows them in the reader's own.

use licence_core::language::Language;
use licence_core::pool::KeyStatus;
use licence_core::time::Utc;

use crate::access::Role;
use crate::api::views::LicenceView;

/// Texts in one language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts(pub(crate) Language);

impl Texts {
    /// The language's tag.
    pub(crate) fn lang(&self) -> &'static str {
        self.0.pick("ru", "en")
    }

    /// The tag of the language that this page is not in.
    pub(crate) fn other_lang(&self) -> &'static str {
        self.0.pick("en", "ru")
    }

    /// Chooses between two texts.
    pub(crate) fn pick<'a>(&self, russian: &'a str, english: &'a str) -> &'a str {
        self.0.pick(russian, english)
    }

    /// Yes or no.
    pub(crate) fn yes(&self, is: bool) -> &'static str {
        if is { self.0.pick("да", "yes") } else { self.0.pick("нет", "no") }
    }

    /// A role.
    pub(crate) fn role(&self, role: &Role) -> &'static str {
        match role {
            Role::Administrator => self.0.pick("администратор", "administrator"),
            Role::Operator => self.0.pick("оператор", "operator"),
            Role::Reader => self.0.pick("наблюдатель", "reader"),
        }
    }

    /// The type of a key.
    pub(crate) fn kind(&self, key: &LicenceView) -> &'static str {
        match key.key_type {
            Some(3) => self.0.pick("Основной", "Main"),
            Some(4) => self.0.pick("Дополнительный", "Additional"),
            Some(5) => self.0.pick("Демонстрационный", "Demo"),
            None if key.is_blank => self.0.pick("Болванка", "Blank"),
            _ => self.0.pick("Неизвестный", "Unknown"),
        }
    }

    /// The kind of its medium.
    pub(crate) fn medium(&self, key: &LicenceView) -> &'static str {
        if key.medium == "USB" {
            self.0.pick("Аппаратный (USB)", "USB token")
        } else {
            self.0.pick("Программный", "Software")
        }
    }

    /// The name of its file; the folder is not everybody's to know.
    pub(crate) fn file<'a>(&self, key: &'a LicenceView) -> &'a str {
        key.file_name.rsplit(['/', '\\']).next().unwrap_or_default()
    }

    /// The state of a key in the manual's words.
    pub(crate) fn state(&self, key: &LicenceView) -> String {
        if key.is_blank {
            return self.pick("Не активирован", "Not activated").to_owned();
        }
        let error = match self.0 {
            Language::Russian => key.open_error_russian.as_ref().or(key.open_error.as_ref()),
            Language::English => key.open_error.as_ref(),
        };
        if let Some(error) = error {
            return format!("{}: {error}", self.pick("Недоступен", "Unavailable"));
        }
        if !key.workable {
            let text = if key.medium == "USB" {
                self.pick(
                    "Недоступен: Аппаратный ключ неисправен",
                    "Unavailable: the USB token does not work",
                )
            } else {
                self.pick(
                    "Недоступен: Изменена конфигурация компьютера",
                    "Unavailable: the computer's configuration has changed",
                )
            };
            return text.to_owned();
        }
        if key.expired {
            let text = self.pick("Срок действия истёк", "Its term is over since");
            let date = key.expire_date.map(|end| self.day(&end)).unwrap_or_default();
            return format!("{text} {date}").trim_end().to_owned();
        }
        if key.enabled {
            let text = self.pick("Доступен", "Available");
            return match key.expire_date {
                Some(end) => format!("{text} {} {}", self.pick("до", "until"), self.day(&end)),
                None => text.to_owned(),
            };
        }
        let unavailable = self.pick("Недоступен", "Unavailable");
        let status = match key.key_type {
            Some(4) => KeyStatus::NoMainKey,
            Some(5) => KeyStatus::DemoNotAlone,
            _ if key.start_date.is_some() => KeyStatus::NotStarted,
            _ => return unavailable.to_owned(),
        };
        format!("{unavailable}: {}", self.pick(status.russian(), status.english()))
    }

    /// A day, in the order of the language.
    pub(crate) fn day(&self, at: &Utc) -> String {
        match self.0 {
            Language::English => at.to_string().get(..10).unwrap_or("").to_owned(),
            Language::Russian => day(*at),
        }
    }

    /// A moment, in UTC: `02.04.2018 20:41:13` or `2018-04-02 20:41:13`.
    pub(crate) fn moment(&self, at: &Utc) -> String {
        let shown = at.to_string();
        let clock = shown.get(11..19).unwrap_or("");
        match self.0 {
            Language::English => format!("{} {clock}", shown.get(..10).unwrap_or("")),
            Language::Russian => format!("{} {clock}", day(*at)),
        }
    }

    /// A span of time, in its two largest units.
    pub(crate) fn span(&self, seconds: u64) -> String {
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
        let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
        let (d, h) = (self.pick("д", "d"), self.pick("ч", "h"));
        let (m, s) = (self.pick("мин", "min"), self.pick("с", "s"));
        if days > 0 {
            format!("{days} {d} {hours} {h}")
        } else if hours > 0 {
            format!("{hours} {h} {minutes} {m}")
        } else if minutes > 0 {
            format!("{minutes} {m} {seconds} {s}")
        } else {
            format!("{seconds} {s}")
        }
    }
}

/// Seconds from one moment to a later one; none when it is not later.
pub(crate) fn seconds_between(from: Utc, to: Utc) -> u64 {
    u64::try_from(to.unix_millis().saturating_sub(from.unix_millis()) / 1000).unwrap_or(0)
}

/// `02.04.2018`, as people in Russia write a day.
fn day(at: Utc) -> String {
    let shown = at.to_string();
    let date = shown.get(..10).unwrap_or("");
    let parts: Vec<_> = date.split('-').rev().collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_is_written_as_in_the_manual_of_the_console() {
        assert_eq!(day("2018-04-02T20:41:13.272Z".parse().unwrap()), "02.04.2018");
    }

    #[test]
    fn moment_is_written_in_the_order_of_the_language() {
        let at = "2018-04-02T20:41:13.272Z".parse().unwrap();
        assert_eq!(Texts(Language::Russian).moment(&at), "02.04.2018 20:41:13");
        assert_eq!(Texts(Language::English).moment(&at), "2018-04-02 20:41:13");
    }

    #[test]
    fn span_is_written_in_its_two_largest_units() {
        let t = Texts(Language::English);
        for (seconds, shown) in
            [(0, "0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_061, "1 d 1 h")]
        {
            assert_eq!(t.span(seconds), shown);
        }
        assert_eq!(Texts(Language::Russian).span(61), "1 мин 1 с");
    }
}
