//! How two machines with one identity are found: by the marks that the centre gives, and by the
//! computers from which they speak.
//!
//! The centre draws a mark for each answer and a server shows the last one it got. A copy shows the
//! same marks at first; as soon as both have asked, one of them shows a mark that the other has used
//! up. Nothing is refused here: a person looks at what is found.

use licencekit::vendor::SuspicionKind;

/// What the books know of a server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// The mark that was given last.
    pub mark: Option<String>,
    /// The mark that the server may still have, because that answer was lost on the way.
    pub mark_before: Option<String>,
    /// The computer from which it spoke last.
    pub computer_id: String,
    /// The computer from which it spoke before.
    pub computer_before: Option<String>,
}

/// What the books keep after a request, and what it shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// What is known of the server from here on, with the mark of this answer.
    pub known: Known,
    /// What looks like two machines.
    pub suspicions: Vec<SuspicionKind>,
}

/// Judges a request that shows the mark `shown` from the computer `computer_id`; `drawn` is the mark
/// that its answer will carry.
pub fn look(known: Option<Known>, shown: Option<&str>, computer_id: &str, drawn: String) -> Seen {
    let Some(known) = known else {
        // The first answer may be lost as any other: then the server shows what it shows today.
        let known = Known {
            mark: Some(drawn),
            mark_before: shown.map(str::to_owned),
            computer_id: computer_id.to_owned(),
            computer_before: None,
        };
        return Seen { known, suspicions: Vec::new() };
    };
    let mut suspicions = Vec::new();
    let mark_before = match shown {
        Some(shown) if known.mark_before.as_deref() == Some(shown) => known.mark_before,
        Some(shown) if known.mark.as_deref() == Some(shown) => known.mark,
        // A server that lost its note of the mark, or one that keeps none.
        None => known.mark,
        Some(_) => {
            suspicions.push(SuspicionKind::Mark);
            known.mark
        }
    };
    let (computer_id, computer_before) = if known.computer_id == computer_id {
        (known.computer_id, known.computer_before)
    } else {
        // One change is a repair; back again is another machine.
        if known.computer_before.as_deref() == Some(computer_id) {
            suspicions.push(SuspicionKind::Computers);
        }
        (computer_id.to_owned(), Some(known.computer_id))
    };
    let known = Known { mark: Some(drawn), mark_before, computer_id, computer_before };
    Seen { known, suspicions }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that remembers the last mark it got.
    #[derive(Clone, Default)]
    struct Machine {
        mark: Option<String>,
        computer: &'static str,
    }

    /// A centre with one identity in its books.
    #[derive(Default)]
    struct Centre {
        known: Option<Known>,
        answers: u32,
    }

    impl Centre {
        /// One request; the answer reaches the machine unless it is `lost`.
        fn ask(&mut self, machine: &mut Machine, lost: bool) -> Vec<SuspicionKind> {
            self.answers += 1;
            let drawn = format!("m{}", self.answers);
            let known = self.known.take();
            let seen = look(known, machine.mark.as_deref(), machine.computer, drawn.clone());
            self.known = Some(seen.known);
            if !lost {
                machine.mark = Some(drawn);
            }
            seen.suspicions
        }
    }

    #[test]
    fn one_machine_is_never_suspicious_however_many_answers_are_lost() {
        let mut centre = Centre::default();
        let mut machine = Machine { mark: None, computer: "A" };
        for lost in [true, true, false, false, true, true, true, false, true, false] {
            assert_eq!(centre.ask(&mut machine, lost), []);
        }
        // Its note of the mark is gone: that happens to one machine, too.
        machine.mark = None;
        assert_eq!(centre.ask(&mut machine, false), []);
        assert_eq!(centre.ask(&mut machine, false), []);
    }

    #[test]
    fn copy_is_found_as_soon_as_both_have_asked() {
        let mut centre = Centre::default();
        let mut first = Machine { mark: None, computer: "A" };
        centre.ask(&mut first, false);
        centre.ask(&mut first, false);
        let mut copy = first.clone();
        assert_eq!(centre.ask(&mut first, false), []);
        // Its mark may be that of an answer that was lost.
        assert_eq!(centre.ask(&mut copy, false), []);
        assert_eq!(centre.ask(&mut first, false), [SuspicionKind::Mark]);
        assert_eq!(centre.ask(&mut copy, false), []);
        assert_eq!(centre.ask(&mut first, false), [SuspicionKind::Mark]);
    }

    #[test]
    fn repair_is_one_change_and_two_computers_in_turn_are_two() {
        let mut centre = Centre::default();
        let mut machine = Machine { mark: None, computer: "A" };
        centre.ask(&mut machine, false);
        for (computer, wanted) in [
            ("B", vec![]),
            ("B", vec![]),
            ("C", vec![]),
            ("B", vec![SuspicionKind::Computers]),
            ("C", vec![SuspicionKind::Computers]),
        ] {
            machine.computer = computer;
            assert_eq!(centre.ask(&mut machine, false), wanted, "{computer}");
        }
    }
}
