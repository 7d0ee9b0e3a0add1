//! When it is told that the token of a key has gone or come back.
//!
//! A token that has failed once is asked again before it counts as gone: that is decided where tokens
//! are asked.

use serde_json::json;

use super::{Facts, Kind, Notice, Watcher};

impl Watcher {
    pub(super) fn look_at_tokens(&mut self, facts: &Facts, notices: &mut Vec<Notice>) {
        // A key that is gone from the server has no token to come back.
        self.missing.retain(|known| facts.tokens.iter().any(|(_, key_no, _)| key_no == known));
        for (series, key_no, is_there) in &facts.tokens {
            let (kind, russian, english) = if *is_there && self.missing.remove(key_no) {
                (
                    Kind::TokenBack,
                    format!("Носитель ключа {key_no} серии {series} снова подключён."),
                    format!("The token of key {key_no} of series {series} is plugged in again."),
                )
            } else if !is_there && self.missing.insert(*key_no) {
                (
                    Kind::TokenLost,
                    format!(
                        "Носитель ключа {key_no} серии {series} не подключён: ключ не выдаёт лицензий."
                    ),
                    format!(
                        "The token of key {key_no} of series {series} is not plugged in: the key gives \
                         out no seats."
                    ),
                )
            } else {
                continue;
            };
            notices.push(Notice {
                kind,
                series: Some(*series),
                key_no: Some(*key_no),
                russian,
                english,
                details: json!({}),
            });
        }
    }
}
