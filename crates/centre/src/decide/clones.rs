//! How two machines with one identity are found: by the marks that the centre gives, and by the
//! computers from which they speak.
//!
//! The centre draws a mark for each answer and a server shows the last one it got. A copy shows the
//! same marks at first; as soon as both have asked, one of them shows a mark that the other has used
//! up. A request that is read out shows no mark, and its answer carries none: marks stay as they are
//! then. Nothing is refused here: a person looks at what is found.

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
/// that its answer will carry, nothing when it is read out.
pub fn look(
    known: Option<Known>,
    shown: Option<&str>,
    computer_id: &str,
    drawn: Option<String>,
) -> Seen {
    let Some(known) = known else {
        // The first answer may be lost as any other: then the server shows what it shows today.
        let known = Known {
            mark: drawn,
            mark_before: shown.map(str::to_owned),
            computer_id: computer_id.to_owned(),
            computer_before: None,
        };
        return Seen { known, suspicions: Vec::new() };
    };
    let mut suspicions = Vec::new();
    let (mark, mark_before) = match (drawn, shown) {
        (None, _) => (known.mark, known.mark_before),
        // No mark was ever given: all its requests were read out.
        (Some(drawn), _) if known.mark.is_none() => (Some(drawn), shown.map(str::to_owned)),
        (Some(drawn), Some(shown)) if known.mark_before.as_deref() == Some(shown) => {
            (Some(drawn), known.mark_before)
        }
        // A server that lost its note of the mark, or one that keeps none.
        (Some(drawn), None) => (Some(drawn), known.mark),
        (Some(drawn), Some(shown)) => {
            if known.mark.as_deref() != Some(shown) {
                suspicions.push(SuspicionKind::Mark);
            }
            (Some(drawn), known.mark)
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
    let known = Known { mark, mark_before, computer_id, computer_before };
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
            let (known, shown) = (self.known.take(), machine.mark.as_deref());
            let seen = look(known, shown, machine.computer, Some(drawn.clone()));
            self.known = Some(seen.known);
            if !lost {
                machine.mark = Some(drawn);
            }
            seen.suspicions
        }

        /// One request that is read out, as its answer is.
        fn hear(&mut self, machine: &Machine) -> Vec<SuspicionKind> {
            let seen = look(self.known.take(), None, machine.computer, None);
            self.known = Some(seen.known);
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
    fn requests_that_are_read_out_use_up_no_mark() {
        let mut machine = Machine { mark: None, computer: "A" };
        for (asked, heard) in [(0, 2), (1, 1), (1, 2), (3, 5), (0, 1)] {
            let mut centre = Centre::default();
            for _ in 0..asked {
                assert_eq!(centre.ask(&mut machine, false), [], "{asked} and {heard}");
            }
            for _ in 0..heard {
                assert_eq!(centre.hear(&machine), [], "{asked} and {heard}");
            }
            // Books that know a server by its readings only have no mark to compare with.
            for lost in [true, false, false] {
                assert_eq!(centre.ask(&mut machine, lost), [], "{asked} and {heard}");
            }
        }
    }

    #[test]
    fn copy_is_found_although_requests_were_read_out_between() {
        let mut centre = Centre::default();
        let mut first = Machine { mark: None, computer: "A" };
        centre.ask(&mut first, false);
        let mut copy = first.clone();
        centre.ask(&mut first, false);
        centre.hear(&first);
        centre.ask(&mut first, false);
        centre.hear(&copy);
        assert_eq!(centre.ask(&mut copy, false), [SuspicionKind::Mark]);
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
