//! The check of the binding: how the computer compares to what the licences are bound to, and which
//! keys stop, or have stopped, for it.
//!
//! Looks at values handed to it; the words are [`crate::binding::words`]'.

use licence_core::binding::{Match, Standing};
use licence_core::language::Language;

use super::super::Check;
use super::NAMED_MAX;
use crate::binding::{Judged, words};
use crate::identity::SealState;

/// Whether the computer is still the one that the licences are bound to.
pub fn binding(state: &SealState, judged: &Judged) -> Check {
    let mut russian = words::computer(state, judged.more(), Language::Russian);
    let mut english = words::computer(state, judged.more(), Language::English);
    let troubled: Vec<_> =
        judged.keys.iter().filter(|key| !matches!(key.standing, Standing::Fits { .. })).collect();
    for key in troubled.iter().take(NAMED_MAX) {
        let told = |language| words::key(key.standing, judged.utc, language);
        russian.push_str(&format!(" Ключ {}: {}", key.key_no, told(Language::Russian)));
        english.push_str(&format!(" Key {}: {}", key.key_no, told(Language::English)));
    }
    if let Some(rest) = troubled.len().checked_sub(NAMED_MAX).filter(|rest| *rest > 0) {
        russian.push_str(&format!(" И ещё ключей: {rest}."));
        english.push_str(&format!(" And {rest} more keys."));
    }
    let has_drifted = match state.found {
        Match::Parts { matching, total } => matching < total,
        Match::Secret | Match::Tpm => false,
    };
    let check = if troubled.iter().any(|key| !key.standing.is_usable()) {
        Check::failed("binding", russian, english)
    } else if has_drifted || !troubled.is_empty() {
        Check::warning("binding", russian, english)
    } else {
        return Check::ok("binding", russian, english);
    };
    let wants_tpm = |standing| matches!(standing, Standing::NeedsTpm);
    if !has_drifted && troubled.iter().any(|key| wants_tpm(key.standing)) {
        let told = words::advice_tpm;
        return check.advise(told(Language::Russian), told(Language::English));
    }
    check.advise(words::advice(Language::Russian), words::advice(Language::English))
}

#[cfg(test)]
mod tests {
    use licence_core::binding::{Binding, BindingLevel};
    use licence_core::identity_seal::Protection;
    use licence_core::key::{KeyNo, KeySeries};
    use licence_core::time::Utc;

    use super::super::super::State;
    use super::*;
    use crate::binding::{Changes, KeyStanding};

    #[test]
    fn binding_warns_of_drift_and_grace_and_fails_when_a_key_has_stopped() {
        let utc = Utc::from_unix_millis(1_800_000_000_000);
        let check = |found, standings: &[Standing], wanted: State, part: &str| {
            let protection = Protection::Parts;
            let (parts, unreadable, sealed_at) = (Vec::new(), Vec::new(), utc);
            let state = SealState { protection, found, parts, unreadable, sealed_at };
            let keys = standings.iter().zip(1..).map(|(standing, number)| KeyStanding {
                key_no: KeyNo(number),
                series: KeySeries::from_u16(0x672B),
                binding: Binding { level: BindingLevel::Medium, grace_days: 14 },
                changed_at: None,
                standing: *standing,
            });
            let judged = Judged { utc, changes: Changes::default(), keys: keys.collect() };
            let check = binding(&state, &judged);
            assert_eq!(check.state, wanted, "{check:?}");
            assert!(check.english.contains(part), "{part}: {check:?}");
            assert_eq!(check.advice_english.is_empty(), wanted == State::Ok, "{check:?}");
        };
        let parts = |matching| Match::Parts { matching, total: 7 };
        let fits = |more| Standing::Fits { more: Some(more) };
        let grace = Standing::Grace { until: utc.plus_days(3) };
        check(parts(7), &[fits(2), fits(3)], State::Ok, "2 more may change");
        check(parts(6), &[fits(1)], State::Warning, "1 of 7 parts");
        check(parts(4), &[fits(1), grace], State::Warning, "Key 2: Too many parts");
        check(parts(4), &[Standing::Over { since: utc }], State::Failed, "does not work since");
        check(Match::Secret, &[], State::Ok, "secret");
        check(Match::Secret, &[Standing::NeedsTpm], State::Failed, "in a TPM");
        check(parts(3), &[grace; 8], State::Warning, "And 3 more keys");
    }
}
