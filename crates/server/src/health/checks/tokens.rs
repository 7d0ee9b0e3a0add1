//! The check of USB tokens: who is plugged in, and what is wrong with them.
//!
//! Looks at values handed to it and speaks to no token.

use super::super::Check;
use crate::keyring::{Plugged, Presence};
use crate::tokens::Trouble;

/// The tokens that are plugged in, and what is wrong with them; nothing is said of keys whose tokens
/// are missing: that is the check of keys.
pub fn tokens(is_on: bool, plugged: &[Plugged], troubles: &[Trouble]) -> Check {
    if !is_on {
        return Check::ok(
            "tokens",
            "Носители USB не используются ([UPKey] Enabled).",
            "USB tokens are not used ([UPKey] Enabled).",
        );
    }
    let count = plugged.len();
    let blank = plugged.iter().filter(|token| token.is_blank()).count();
    let mut russian = vec![format!("Подключено носителей USB: {count}, из них болванок: {blank}.")];
    let mut english = vec![format!("USB tokens plugged in: {count}, of them blanks: {blank}.")];
    let doubted: Vec<_> = plugged
        .iter()
        .filter(|token| token.presence == Presence::InDoubt)
        .map(|token| token.key.short_id())
        .collect();
    if !doubted.is_empty() {
        let names = doubted.join(", ");
        russian.push(format!("Не ответили: {names}."));
        english.push(format!("Have not answered: {names}."));
    }
    for trouble in troubles {
        let place = &trouble.place;
        let before = if place.is_empty() { String::new() } else { format!("{place}: ") };
        russian.push(format!("{before}{}", trouble.russian));
        english.push(format!("{before}{}", trouble.english));
    }
    let is_fine = russian.len() == 1;
    let (russian, english) = (russian.join(" "), english.join(" "));
    if is_fine {
        return Check::ok("tokens", russian, english);
    }
    Check::warning("tokens", russian, english).advise(
        "Подключите носитель заново; закройте программы, которые его занимают; проверьте права \
         службы на устройства USB (docs/usb.md).",
        "Plug the token in again; close programs that hold it; see whether the service may use USB \
         devices (docs/usb.md).",
    )
}

#[cfg(test)]
mod tests {
    use licence_core::holder::TokenKey;

    use super::super::super::State;
    use super::*;

    #[test]
    fn trouble_and_doubt_are_told_and_blanks_are_counted() {
        let mut point = [7; 65];
        point[0] = 4;
        let blank = Plugged {
            key: TokenKey::from_point(&point).unwrap(),
            name: "token".into(),
            presence: Presence::Present,
            keys: Vec::new(),
        };
        let fine = tokens(true, std::slice::from_ref(&blank), &[]);
        assert_eq!(fine.state, State::Ok);
        assert!(fine.english.contains("of them blanks: 1"), "{}", fine.english);
        let doubted = Plugged { presence: Presence::InDoubt, ..blank };
        let told = tokens(true, &[doubted], &[]);
        assert_eq!(told.state, State::Warning);
        let trouble =
            Trouble {
                place: "reader".into(), russian: "Занят.".into(), english: "Busy.".into()
            };
        let told = tokens(true, &[], &[trouble]);
        assert_eq!(told.state, State::Warning);
        assert!(told.russian.contains("reader: Занят."), "{}", told.russian);
        assert_eq!(tokens(false, &[], &[]).state, State::Ok);
    }
}
